use super::*;

fn range(revision: i64, kvs: Vec<mvccpb::KeyValue>) -> pb::RangeResponse {
    pb::RangeResponse { header: header(revision), count: kvs.len() as i64, kvs, more: true }
}

#[test]
fn pairs_of_a_range() {
    let (raw, expect) = pairs();
    let got = shown(Kind::Range, &range(150, raw), &Returned::new(), Header::Exact);
    assert_eq!(got, range(350, expect));
}

#[test]
fn values_are_parts_of_the_received_message() {
    let message = bytes(&range(150, pairs().0));
    let received = message.as_ptr() as usize..message.as_ptr() as usize + message.len();
    let mut pieces = reply(Kind::Range, &message, &Returned::new(), Header::Exact).unwrap();
    let mut shared = 0;
    while let Some(piece) = pieces.next_piece() {
        if received.contains(&(piece.as_ptr() as usize)) {
            shared += piece.len();
        } else {
            assert!(piece.len() < 150, "{}", piece.len());
        }
    }
    assert!(shared >= 5 * 300);
}

#[test]
fn put_and_delete_range() {
    let put = |revision, kv| pb::PutResponse { header: header(revision), prev_kv: kv };
    let got = shown(Kind::Put, &put(150, Some(kv("copied", 90, 95, 4))), &Returned::new(), Header::Exact);
    assert_eq!(got, put(350, Some(kv("copied", 120, 250, 7))));
    assert_eq!(shown(Kind::Put, &put(150, None), &Returned::new(), Header::Exact), put(350, None));

    let (raw, expect) = pairs();
    let deleted =
        |revision, kvs| pb::DeleteRangeResponse { header: header(revision), deleted: 5, prev_kvs: kvs };
    let got = shown(Kind::DeleteRange, &deleted(150, raw), &Returned::new(), Header::Exact);
    assert_eq!(got, deleted(350, expect));
}

/// A reply with every kind of operation, nested, as etcd writes it: headers within have only revisions, that of a nested
/// transaction is empty.
fn txn(lift: i64, kvs: Vec<mvccpb::KeyValue>) -> pb::TxnResponse {
    use pb::response_op::Response;
    let within = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
    let op = |response| pb::ResponseOp { response: Some(response) };
    let operations =
        |responses| pb::TxnResponse { header: Some(Default::default()), succeeded: true, responses };
    let put = pb::PutResponse { header: within(150 + lift), prev_kv: Some(kvs[1].clone()) };
    let delete = pb::DeleteRangeResponse { header: within(151 + lift), deleted: 1, prev_kvs: kvs.clone() };
    let read = pb::RangeResponse { header: within(152 + lift), kvs, more: false, count: 3 };
    let inner =
        operations(vec![op(Response::ResponseRange(read.clone())), pb::ResponseOp { response: None }]);
    let middle =
        operations(vec![op(Response::ResponseTxn(inner)), op(Response::ResponseDeleteRange(delete))]);
    pb::TxnResponse {
        header: header(150 + lift),
        succeeded: false,
        responses: vec![
            op(Response::ResponsePut(put)),
            op(Response::ResponseTxn(middle)),
            op(Response::ResponseRange(read)),
        ],
    }
}

#[test]
fn transactions_to_any_depth() {
    let (raw, expect) = pairs();
    let got = shown(Kind::Txn(&Plan::default()), &txn(0, raw), &Returned::new(), Header::Exact);
    assert_eq!(got, txn(OFFSET, expect));
}

#[test]
fn chunks_of_a_stream() {
    let (raw, expect) = pairs();
    let chunk = |range| pb::RangeStreamResponse { range_response: Some(range) };
    let middle = |kvs| chunk(pb::RangeResponse { kvs, ..Default::default() });
    let line = Returned::new();
    let got = shown(Kind::RangeStream, &middle(raw.clone()), &line, Header::Exact);
    assert_eq!(got, middle(expect.clone()), "a chunk without a header gets none");
    let got = shown(Kind::RangeStream, &chunk(range(150, raw)), &line, Header::Exact);
    assert_eq!(got, chunk(range(350, expect)));
    let same = |message: Bytes| {
        assert_eq!(reply(Kind::RangeStream, &message, &line, Header::Exact).unwrap().into_bytes(), message);
    };
    same(Bytes::new());
    same(crate::patch::Patch::new().bytes(7, b"no message").varint(8, 1).into_bytes());
}

#[test]
fn watch_events() {
    let event = |r#type, kv, prev_kv| mvccpb::Event { r#type, kv: Some(kv), prev_kv };
    let watch = |revision, events| pb::WatchResponse {
        header: header(revision),
        watch_id: 3,
        events,
        ..Default::default()
    };
    let gone = |revision| mvccpb::KeyValue {
        key: Bytes::from_static(b"copied"),
        mod_revision: revision,
        ..Default::default()
    };
    let raw = vec![
        event(0, kv("copied", 90, 140, 5), Some(kv("copied", 90, 95, 4))),
        event(0, kv("new", 141, 141, 1), None),
        event(1, gone(142), Some(kv("copied", 90, 140, 5))),
        event(0, kv("copied", 143, 143, 1), None),
    ];
    let expect = vec![
        event(0, kv("copied", 120, 340, 8), Some(kv("copied", 120, 250, 7))),
        event(0, kv("new", 341, 341, 1), None),
        event(1, gone(342), Some(kv("copied", 120, 340, 8))),
        event(0, kv("copied", 343, 343, 1), None),
    ];
    let got = shown(Kind::Watch, &watch(150, raw), &Returned::new(), Header::Within);
    assert_eq!(got, watch(350, expect));
}

#[test]
fn the_copy_is_no_event() {
    let watch = |kv| pb::WatchResponse {
        events: vec![mvccpb::Event { kv: Some(kv), ..Default::default() }],
        ..Default::default()
    };
    let line = Returned { last: 150, ..Returned::new() };
    for (kv, raw) in [(kv("copied", 90, 95, 4), 95), (kv("new", 110, 151, 2), 151)] {
        let got = reply(Kind::Watch, &bytes(&watch(kv)), &line, Header::Within);
        assert_eq!(got.unwrap_err(), ReplyError::Outside(Outside { raw }));
    }
}

#[test]
fn headers_of_watches_stay_within_the_reign() {
    let line = Returned { last: 150, ..Returned::new() };
    let progress =
        |revision| pb::WatchResponse { header: header(revision), watch_id: -1, ..Default::default() };
    for (raw, expect) in [(40, 301), (101, 301), (120, 320), (150, 350), (900, 350)] {
        assert_eq!(shown(Kind::Watch, &progress(raw), &line, Header::Within), progress(expect));
    }
    let compacted =
        |compact_revision| pb::WatchResponse { canceled: true, compact_revision, ..Default::default() };
    for (raw, expect) in [(0, 0), (40, 301), (120, 320), (150, 350), (151, 351), (900, 351)] {
        assert_eq!(shown(Kind::Watch, &compacted(raw), &line, Header::Within), compacted(expect));
    }
}

#[test]
fn headers_of_anything() {
    let line = Returned { last: 150, ..Returned::new() };
    let granted =
        |revision| pb::LeaseGrantResponse { header: header(revision), id: 7, ttl: 60, error: "e".into() };
    assert_eq!(shown(Kind::Header, &granted(120), &line, Header::Exact), granted(320));
    assert_eq!(shown(Kind::Header, &granted(999), &line, Header::At(5000)), granted(5000));
    assert_eq!(shown(Kind::Header, &granted(0), &line, Header::At(5000)), granted(0));
    let compact = |revision| pb::CompactionResponse { header: header(revision) };
    assert_eq!(shown(Kind::Header, &compact(101), &line, Header::Exact), compact(301));
    for raw in [100, 40, 151, -1, i64::MIN, i64::MAX] {
        let got = reply(Kind::Header, &bytes(&compact(raw)), &line, Header::Exact);
        assert_eq!(got.unwrap_err(), ReplyError::Outside(Outside { raw }));
    }
}

#[test]
fn provenance_that_is_missing_is_named() {
    let unread = vec![kv("x", 3, 4, 1), kv("copied", 90, 95, 4), kv("b", 90, 140, 1), kv("x", 3, 140, 2)];
    let message = bytes(&range(150, unread));
    let expect = ReplyError::Unread(vec![Bytes::from_static(b"b"), Bytes::from_static(b"x")]);
    assert_eq!(reply(Kind::Range, &message, &Returned::new(), Header::Exact).unwrap_err(), expect);
    let new = bytes(&range(150, vec![kv("x", 101, 140, 1)]));
    assert!(reply(Kind::Range, &new, &Returned::new(), Header::Exact).is_ok());
}

#[test]
fn what_does_not_fit_is_refused() {
    let refused = |kv| {
        let message = bytes(&range(150, vec![kv]));
        reply(Kind::Range, &message, &Returned::new(), Header::Exact).unwrap_err()
    };
    assert_eq!(refused(kv("copied", 90, 92, 4)), ReplyError::Provenance, "read at another revision");
    assert_eq!(refused(kv("copied", 90, 140, -3)), ReplyError::Provenance);
    assert_eq!(refused(kv("copied", 90, 140, i64::MIN)), ReplyError::Provenance);
    assert_eq!(
        refused(kv("old", 90, 140, 1)),
        ReplyError::Outside(Outside { raw: 90 }),
        "copied without a record"
    );
    assert_eq!(refused(kv("new", 110, i64::MAX, 1)), ReplyError::Outside(Outside { raw: i64::MAX }));
    assert_eq!(refused(kv("new", 110, -5, 1)), ReplyError::Outside(Outside { raw: -5 }));
}

#[test]
fn unknown_fields_pass() {
    let extra = crate::patch::Patch::new().bytes(90, &[1; 200]).varint(91, 5);
    let with = |message: Vec<u8>| Bytes::from([&message[..], extra.as_slice()].concat());
    let pair =
        |kv: mvccpb::KeyValue| crate::patch::Patch::new().bytes(2, &with(kv.encode_to_vec())).into_bytes();
    let message = |kv| with(pair(kv).to_vec());
    let got = reply(Kind::Range, &message(kv("copied", 90, 95, 4)), &Returned::new(), Header::Exact).unwrap();
    assert_eq!(got.into_bytes(), message(kv("copied", 120, 250, 7)));
}

#[test]
fn fields_in_any_order() {
    let number = |field, value| crate::patch::Patch::new().int64(field, value).into_bytes();
    let string = |field, value: &[u8]| crate::patch::Patch::new().bytes(field, value).into_bytes();
    let mixed = [
        number(4, 4),
        string(5, &[9; 100]),
        number(2, 3),
        number(3, 95),
        string(1, b"copied"),
        number(2, 90),
    ]
    .concat();
    let message = string(2, &mixed);
    let got = reply(Kind::Range, &message, &Returned::new(), Header::Exact).unwrap();
    let got = pb::RangeResponse::decode(got.into_bytes()).unwrap();
    let expect = mvccpb::KeyValue {
        key: Bytes::from_static(b"copied"),
        create_revision: 120,
        mod_revision: 250,
        version: 7,
        value: vec![9; 100].into(),
        lease: 0,
    };
    assert_eq!(got.kvs, [expect]);
}

#[test]
fn a_list_translated_in_parts_is_the_same() {
    let (raw, shown_pairs) = pairs();
    let of = |kvs: Vec<mvccpb::KeyValue>, revision| pb::RangeResponse {
        header: header(revision),
        count: kvs.len() as i64,
        kvs,
        more: true,
    };
    let (message, line) = (bytes(&of(raw, 150)), Returned::new());
    for len in 1..message.len() {
        let (mut out, mut from, mut to) = (Vec::new(), 0, 0);
        while from < message.len() {
            to = (to + len).min(message.len());
            let part = message.slice(from..from + crate::field::whole(&message[from..to]));
            from += part.len();
            out.extend_from_slice(&reply(Kind::Range, &part, &line, Header::Exact).unwrap().into_bytes());
        }
        assert_eq!(pb::RangeResponse::decode(&out[..]).unwrap(), of(shown_pairs.clone(), 150 + OFFSET));
    }
}
