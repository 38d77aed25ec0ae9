//! Filters, order and limits, against what etcd does on the virtual line.

use proptest::prelude::*;

use super::*;

/// As etcd evaluates a Range over the pairs of its keys; equals stay in the order of their keys.
fn etcd(request: &pb::RangeRequest, all: &[mvccpb::KeyValue]) -> (Vec<mvccpb::KeyValue>, bool) {
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    let default_order = request.sort_order == 0 || (request.sort_order == 1 && request.sort_target == 0);
    let mut kvs = all.to_vec();
    if request.limit > 0 && default_order && filters == [0; 4] {
        kvs.truncate(request.limit.saturating_add(1) as usize);
    }
    kvs.retain(|kv| request.max_mod_revision == 0 || kv.mod_revision <= request.max_mod_revision);
    kvs.retain(|kv| request.min_mod_revision == 0 || kv.mod_revision >= request.min_mod_revision);
    kvs.retain(|kv| request.max_create_revision == 0 || kv.create_revision <= request.max_create_revision);
    kvs.retain(|kv| request.min_create_revision == 0 || kv.create_revision >= request.min_create_revision);
    let order = if request.sort_target != 0 && request.sort_order == 0 { 1 } else { request.sort_order };
    if order != 0 {
        kvs.sort_by(|a, b| {
            let by = match request.sort_target {
                1 => a.version.cmp(&b.version),
                2 => a.create_revision.cmp(&b.create_revision),
                3 => a.mod_revision.cmp(&b.mod_revision),
                4 => a.value.cmp(&b.value),
                _ => a.key.cmp(&b.key),
            };
            if order == 2 { by.reverse() } else { by }
        });
    }
    let mut more = false;
    if request.limit > 0 && kvs.len() as i64 > request.limit {
        kvs.truncate(request.limit as usize);
        more = true;
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    if request.count_only {
        (kvs, more) = (Vec::new(), false);
    }
    (kvs, more)
}

/// Keys of every kind, each with a value of its own.
fn store() -> (Vec<mvccpb::KeyValue>, Vec<mvccpb::KeyValue>) {
    let (mut raw, mut expect) = pairs();
    raw.remove(1);
    expect.remove(1);
    for (i, key) in ["p", "q", "r", "s"].into_iter().enumerate() {
        let (created, modified) = (120 + i as i64, 170 - 5 * i as i64);
        raw.push(kv(key, created, modified, 3));
        expect.push(kv(key, created + OFFSET, modified + OFFSET, 3));
    }
    for kvs in [&mut raw, &mut expect] {
        for (i, kv) in kvs.iter_mut().enumerate() {
            kv.value = Bytes::from(vec![b'z' - (i as u8 * 7) % 5; 20 + i]);
        }
    }
    (raw, expect)
}

fn bound() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 3 => 1..400_i64, 1 => Just(-3), 1 => Just(i64::MAX)]
}

fn request() -> impl Strategy<Value = pb::RangeRequest> {
    let limit = prop_oneof![Just(0), Just(-1), 1..12_i64, Just(i64::MAX)];
    let bounds = [bound(), bound(), bound(), bound()];
    (limit, 0..3_i32, 0..5_i32, any::<bool>(), prop::bool::weighted(0.1), bounds).prop_map(
        |(limit, sort_order, sort_target, keys_only, count_only, [a, b, c, d])| pb::RangeRequest {
            key: "a".into(),
            range_end: "z".into(),
            limit,
            sort_order,
            sort_target,
            keys_only,
            count_only,
            min_mod_revision: a,
            max_mod_revision: b,
            min_create_revision: c,
            max_create_revision: d,
            ..Default::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn agree_with_etcd_on_the_virtual_line(request in request()) {
        let (raw, virtual_line) = store();
        let line = Returned::new();
        let rewrite = range(&bytes(&request), &line).unwrap();
        let sent = [&request.encode_to_vec()[..], rewrite.patch.as_slice()].concat();
        let (kvs, more) = etcd(&pb::RangeRequest::decode(&sent[..]).unwrap(), &raw);
        let response = pb::RangeResponse { header: header(200), kvs, more, count: raw.len() as i64 };
        let kind = rewrite.select.as_ref().map_or(Kind::Range, Kind::Selected);
        let got = shown(kind, &response, &line, Header::Exact);
        let (kvs, more) = etcd(&request, &virtual_line);
        prop_assert_eq!(got, pb::RangeResponse { header: header(400), kvs, more, count: raw.len() as i64 });
    }

    #[test]
    fn within_transactions_too(requests in prop::collection::vec(request(), 1..4), succeeded: bool) {
        use pb::{request_op::Request, response_op::Response};
        let (raw, virtual_line) = store();
        let line = Returned::new();
        let nest = |inner: pb::TxnRequest| pb::RequestOp { request: Some(Request::RequestTxn(inner)) };
        let branch = |on: bool, requests: &[pb::RangeRequest]| {
            let reads: Vec<_> =
                requests.iter().map(|r| pb::RequestOp { request: Some(Request::RequestRange(r.clone())) }).collect();
            if on { pb::TxnRequest { success: reads, ..Default::default() } } else { pb::TxnRequest { failure: reads, ..Default::default() } }
        };
        let inner = branch(!succeeded, &requests);
        let mut outer = branch(succeeded, &requests);
        let taken = if succeeded { &mut outer.success } else { &mut outer.failure };
        taken.push(nest(inner));
        let rewrite = txn(&bytes(&outer), &line, &HashMap::new()).unwrap();
        let sent = pb::TxnRequest::decode(rewrite.message).unwrap();

        let answer = |request: &pb::RangeRequest, kvs: &[mvccpb::KeyValue], revision| {
            let (kvs, more) = etcd(request, kvs);
            let header = Some(pb::ResponseHeader { revision, ..Default::default() });
            let reply = pb::RangeResponse { header, kvs, more, count: raw.len() as i64 };
            pb::ResponseOp { response: Some(Response::ResponseRange(reply)) }
        };
        let run = |outer: &pb::TxnRequest, kvs: &[mvccpb::KeyValue], revision| {
            let mut replies = Vec::new();
            for op in if succeeded { &outer.success } else { &outer.failure } {
                replies.push(match op.request.as_ref().unwrap() {
                    Request::RequestRange(range) => answer(range, kvs, revision),
                    Request::RequestTxn(inner) => {
                        let reads = if succeeded { &inner.failure } else { &inner.success };
                        let responses = reads.iter().map(|op| match op.request.as_ref().unwrap() {
                            Request::RequestRange(range) => answer(range, kvs, revision),
                            _ => panic!(),
                        });
                        let inner = pb::TxnResponse { header: Some(Default::default()), succeeded: !succeeded, responses: responses.collect() };
                        pb::ResponseOp { response: Some(Response::ResponseTxn(inner)) }
                    }
                    _ => panic!(),
                });
            }
            pb::TxnResponse { header: header(revision), succeeded, responses: replies }
        };
        let got = shown(Kind::Txn(&rewrite.plan), &run(&sent, &raw, 200), &line, Header::Exact);
        prop_assert_eq!(got, run(&outer, &virtual_line, 400));
    }
}
