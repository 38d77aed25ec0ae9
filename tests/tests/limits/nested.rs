//! Transactions within transactions within transactions.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_tests::raw::{frame, request};
use etcd_prism_tests::request::{put, txn};
use prost::Message;
use prost::encoding::encode_varint;

use crate::pair::Pair;

const TXN: &str = "/etcdserverpb.KV/Txn";

/// A put in the innermost of `depth` transactions, written by hand: no library nests this deep.
fn nested(depth: usize) -> Bytes {
    let mut message = txn([Op::RequestPut(put("/registry/pods/nested", "v"))]).encode_to_vec();
    for _ in 1..depth {
        // RequestOp{request_txn = 4} in TxnRequest{success = 2}
        message = field(2, &field(4, &message));
    }
    frame(&message)
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    encode_varint(u64::from(number << 3 | 2), &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// As deep as etcd's budget of operations allows, and one deeper.
#[tokio::test]
async fn as_deep_as_etcd_goes() {
    let pair = Pair::start().await;
    for depth in [1, 2, 64, 127, 128, 129, 130, 159, 160, 161, 500] {
        let [etcd, proxy] = pair.ask(|| request(TXN), &nested(depth)).await;
        assert_eq!(etcd, proxy, "depth {depth}");
        let accepted = proxy.status == Some((0, String::new()));
        assert_eq!(accepted, depth <= 128, "depth {depth}: {proxy:?}");
    }
}

/// Far deeper, and wide at every level: refused, and the proxy goes on.
#[tokio::test]
async fn bombs_are_refused() {
    let pair = Pair::start().await;
    let mut wide = [0x12, 0x00].repeat(100);
    for _ in 0..150 {
        wide = [field(2, &field(4, &wide)), [0x12, 0x00].repeat(100)].concat();
    }
    let bombs =
        [("5,000 deep", nested(5_000)), ("100,000 deep", nested(100_000)), ("wide and deep", frame(&wide))];
    for (what, bomb) in bombs {
        let [etcd, proxy] = pair.ask(|| request(TXN), &bomb).await;
        println!("{what}, {} bytes: etcd {:?}, proxy {:?}", bomb.len(), etcd.status, proxy.status);
        let refused = |status: &Option<(u32, String)>| matches!(status, Some((3 | 13, _)));
        assert!(refused(&proxy.status), "{what}: {proxy:?}");
    }
    let [_, proxy] = pair.ask(|| request(TXN), &nested(1)).await;
    assert_eq!(proxy.status, Some((0, String::new())));
}
