//! The largest request: the proxy takes what etcd takes, though its shards would take more.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, TxnRequest};
use etcd_prism_tests::raw::{RawConnection, frame};
use etcd_prism_tests::request::{op, put};
use prost::Message;

use crate::pair::{Outcome, Pair};

/// etcd's `--max-request-bytes`.
const LIMIT: usize = 3 << 19;

type Make = fn(usize) -> Vec<u8>;

#[tokio::test]
async fn the_largest_request_is_etcds() {
    let pair = Pair::start().await;
    let shapes: [(&str, &str, Make); 4] = [
        ("/etcdserverpb.KV/Put", "a value", |len| value(len).encode_to_vec()),
        ("/etcdserverpb.KV/Put", "a key", |len| {
            PutRequest { key: vec![b'k'; len].into(), ..Default::default() }.encode_to_vec()
        }),
        ("/etcdserverpb.KV/Txn", "a put in a transaction", |len| {
            TxnRequest { success: vec![op(Op::RequestPut(value(len)))], ..Default::default() }.encode_to_vec()
        }),
        ("/etcdserverpb.KV/DeleteRange", "the end of a deletion", |len| {
            DeleteRangeRequest { key: "a".into(), range_end: vec![b'a'; len].into(), ..Default::default() }
                .encode_to_vec()
        }),
    ];
    for (path, what, make) in shapes {
        let [etcd, proxy] = pair.addresses();
        let (etcd, etcd_refusal) = first_refused(&etcd, path, make).await;
        let (proxy, proxy_refusal) = first_refused(&proxy, path, make).await;
        println!(
            "{what}: refused from {etcd} bytes on by etcd, from {proxy} on by the proxy, with {proxy_refusal:?}"
        );
        // The request's id, which etcd counts, is one byte longer or shorter from cluster to cluster.
        assert!(etcd.abs_diff(proxy) <= 1, "{what}");
        assert_eq!(etcd_refusal, proxy_refusal, "{what}");
    }
}

fn value(len: usize) -> PutRequest {
    put("/registry/pods/big", &vec![b'x'; len])
}

/// The smallest size that is refused, found by halving, and the refusal.
async fn first_refused(address: &str, path: &str, make: Make) -> (usize, Outcome) {
    let connection = RawConnection::connect(address).await;
    let (mut accepted, mut refused) = (LIMIT / 2, LIMIT + 4096);
    let ask = async |len| Outcome::of(&connection.call(path, &make(len)).await);
    assert_eq!(ask(accepted).await.status, Some((0, String::new())));
    let mut refusal = ask(refused).await;
    while refused - accepted > 1 {
        let middle = accepted.midpoint(refused);
        let outcome = ask(middle).await;
        match &outcome.status {
            Some((0, _)) => accepted = middle,
            _ => (refused, refusal) = (middle, outcome),
        }
    }
    (refused, refusal)
}

/// One byte more than the longest message is refused before it is read; the proxy holds nothing of it.
#[tokio::test]
async fn the_longest_message_is_etcds() {
    const LONGEST: usize = 2 << 20;
    let pair = Pair::start().await;
    for len in [LONGEST, LONGEST + 1] {
        let make = || etcd_prism_tests::raw::request("/etcdserverpb.KV/Put");
        let body: Bytes = frame(&vec![0; len]);
        let [etcd, proxy] = pair.ask(make, &body).await;
        let code = |outcome: &Outcome| outcome.status.as_ref().map(|(code, _)| *code);
        assert_eq!(code(&etcd), code(&proxy), "{etcd:?} {proxy:?}");
        assert_eq!(code(&proxy), Some(if len > LONGEST { 8 } else { 13 }), "{proxy:?}");
    }
}
