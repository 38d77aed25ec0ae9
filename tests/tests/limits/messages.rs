//! Requests that are not quite requests: the same answer as etcd's, in code and text, or at least in code, or a refusal
//! where etcd is lenient.

use bytes::{BufMut, Bytes, BytesMut};
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_tests::raw::{frame, request};
use etcd_prism_tests::request::{get, put, txn};
use http::{HeaderValue, Method, Request};
use prost::Message;

use crate::pair::{Outcome, Pair};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";

/// One request to ask both.
struct Case {
    name: &'static str,
    request: Request<()>,
    body: Bytes,
}

fn case(name: &'static str, path: &str, body: Bytes) -> Case {
    Case { name, request: request(path), body }
}

impl Case {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header value");
        self.request.headers_mut().insert(name, value);
        self
    }

    fn method(mut self, method: Method) -> Self {
        *self.request.method_mut() = method;
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    async fn ask(&self, pair: &Pair) -> [Outcome; 2] {
        let make = || {
            let mut copy = Request::builder().method(self.request.method()).uri(self.request.uri());
            copy.headers_mut().expect("headers").clone_from(self.request.headers());
            copy.body(()).expect("a request")
        };
        pair.ask(make, &self.body).await
    }
}

/// A frame whose flag and length are what the test says they are.
fn framed(flag: u8, length: u32, data: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(flag);
    out.put_u32(length);
    out.put_slice(data);
    out.freeze()
}

fn read() -> Vec<u8> {
    get("/registry/pods/a").encode_to_vec()
}

fn puts(count: usize) -> impl Iterator<Item = Op> {
    (0..count).map(|index| Op::RequestPut(put(&format!("/registry/pods/{index}"), "v")))
}

/// A Txn of `count` puts.
fn flat(count: usize) -> Bytes {
    frame(&txn(puts(count)).encode_to_vec())
}

/// A Txn of `count` puts and a nested one of `inner` deletions.
fn nested(count: usize, inner: usize) -> Bytes {
    let deletions = (0..inner).map(|index| {
        Op::RequestDeleteRange(etcd_prism_tests::request::delete(&format!("/registry/pods/n{index}")))
    });
    frame(&txn(puts(count).chain([Op::RequestTxn(txn(deletions))])).encode_to_vec())
}

/// What etcd does with it is what the proxy does with it.
#[tokio::test]
async fn the_same_answer_as_etcd() {
    let (ok, len) = (frame(&read()), read().len() as u32);
    let big = |len: usize| frame(&put("/registry/pods/big", &vec![b'x'; len]).encode_to_vec());
    let cases = [
        case("unknown method", "/etcdserverpb.KV/Nope", ok.clone()),
        case("no method", "/etcdserverpb.KV/", ok.clone()),
        case("unknown service", "/foo.Bar/Baz", ok.clone()),
        case("no service", "/foo", ok.clone()),
        case("three parts", "/a/b/c", ok.clone()),
        case("nothing", "/", ok.clone()),
        case("content type with a codec", RANGE, ok.clone()).header("content-type", "application/grpc+proto"),
        case("content type with a parameter", RANGE, ok.clone())
            .header("content-type", "application/grpc;v=1"),
        case("compressed, no encoding", RANGE, framed(1, len, &read())),
        case("compressed, identity", RANGE, framed(1, len, &read())).header("grpc-encoding", "identity"),
        case("accepts gzip", RANGE, ok.clone()).header("grpc-accept-encoding", "gzip"),
        case("4 GiB declared", RANGE, framed(0, u32::MAX, &read())),
        case("two messages", RANGE, [&ok[..], &ok[..]].concat().into()),
        case("bytes behind the message", RANGE, [&ok[..], b"xyz"].concat().into()),
        case("empty Range", RANGE, frame(&[])),
        case("empty Put", PUT, frame(&[])),
        case("empty Txn", TXN, frame(&[])),
        case("128 operations", TXN, flat(128)),
        case("129 operations", TXN, flat(129)),
        case("127 operations and 1 nested", TXN, nested(126, 1)),
        case("127 operations and 2 nested", TXN, nested(126, 2)),
        case("128 operations and 1 nested", TXN, nested(127, 1)),
        case("above the limit of a message", PUT, big(2 << 20)),
        case("below the limit of a message", PUT, big((2 << 20) - 40)),
        case("above the limit of a request", PUT, big(3 << 19)),
        case("a deadline that has passed", RANGE, ok.clone()).header("grpc-timeout", "1n"),
        case("a deadline", RANGE, ok.clone()).header("grpc-timeout", "10S"),
        case("an API version", RANGE, ok.clone()).header("client-api-version", "é"),
        case("no trailers wanted", RANGE, ok.clone()).without("te"),
        case("a token, without auth", RANGE, ok.clone()).header("token", "abc"),
        case("an authorization, without auth", RANGE, ok.clone()).header("authorization", "abc"),
    ];
    compare(&cases, |etcd, proxy| etcd == proxy).await;
}

/// The same code, in words of our own.
#[tokio::test]
async fn the_same_code_as_etcd() {
    let (ok, len, garbage) = (frame(&read()), read().len() as u32, frame(&[0xff; 10]));
    let cases = [
        case("malformed Range", RANGE, garbage.clone()),
        case("malformed Put", PUT, garbage.clone()),
        case("malformed Txn", TXN, garbage.clone()),
        case("malformed DeleteRange", "/etcdserverpb.KV/DeleteRange", garbage.clone()),
        case("malformed Compact", "/etcdserverpb.KV/Compact", garbage.clone()),
        case("malformed RangeStream", "/etcdserverpb.KV/RangeStream", garbage.clone()),
        case("malformed LeaseGrant", "/etcdserverpb.Lease/LeaseGrant", garbage.clone()),
        case("malformed LeaseKeepAlive", "/etcdserverpb.Lease/LeaseKeepAlive", garbage.clone()),
        case("malformed Watch", "/etcdserverpb.Watch/Watch", garbage.clone()),
        case("malformed Lock", "/v3lockpb.Lock/Lock", garbage.clone()),
        case("malformed health check", "/grpc.health.v1.Health/Check", garbage),
        case("field number 0", RANGE, frame(&[0x02, 0x00])),
        case("flag 2", RANGE, framed(2, len, &read())),
        case("flag 255", RANGE, framed(255, len, &read())),
        case("no such deadline", RANGE, ok.clone()).header("grpc-timeout", "abc"),
        case("an empty deadline", RANGE, ok.clone()).header("grpc-timeout", ""),
        case("a long deadline", RANGE, ok.clone()).header("grpc-timeout", "123456789S"),
    ];
    let code = |outcome: &Outcome| outcome.status.as_ref().map(|(code, _)| *code);
    compare(&cases, |etcd, proxy| code(etcd).is_some_and(|code| code != 0) && code(etcd) == code(proxy))
        .await;
}

/// gRPC's answer to an encoding that a server lacks. etcd knows gzip; the proxy never looks inside compressed frames.
#[tokio::test]
async fn compressed_requests_are_refused() {
    let unimplemented = |encoding: &str| {
        let text = format!("grpc: Decompressor is not installed for grpc-encoding \"{encoding}\"");
        Some((12, text))
    };
    let pair = Pair::start().await;
    let body = framed(1, read().len() as u32, &read());
    for (encoding, flagged) in [("gzip", true), ("snappy", true), ("snappy", false)] {
        let body = if flagged { body.clone() } else { frame(&read()) };
        let case = case("an encoding", RANGE, body).header("grpc-encoding", encoding);
        let [etcd, proxy] = case.ask(&pair).await;
        assert!(encoding == "gzip" || etcd.status == unimplemented(encoding), "{etcd:?}");
        assert_eq!(proxy.status, unimplemented(encoding), "{encoding}, flag {flagged}");
    }
}

/// What etcd lets pass and the scan of the proxy does not, because bytes could not be appended to it safely; and what is
/// no request at all.
#[tokio::test]
async fn refused_where_etcd_is_lenient_or_words_it_otherwise() {
    let ok = frame(&read());
    let cases = [
        case("a known field of another type", PUT, frame(&[0x08, 0x01])),
        case("an unknown group", RANGE, frame(&[0x0a, 1, b'a', 0xa3, 0x06, 0xa4, 0x06])),
        case("no body", RANGE, Bytes::new()),
        case("half a prefix", RANGE, Bytes::from_static(&[0, 0, 0])),
        case("a prefix and no message", RANGE, framed(0, 10, &[])),
        case("a message cut off", RANGE, framed(0, 100, &read())),
        case("JSON", RANGE, ok.clone()).header("content-type", "application/json"),
        case("GET", RANGE, ok.clone()).method(Method::GET),
    ];
    let refused = |outcome: &Outcome| {
        outcome.status.as_ref().is_some_and(|(code, _)| *code != 0)
            || outcome.http.is_some_and(|http| http >= 400)
    };
    compare(&cases, |_, proxy| refused(proxy) && proxy.reset.is_none()).await;
}

async fn compare(cases: &[Case], agree: impl Fn(&Outcome, &Outcome) -> bool) {
    let pair = Pair::start().await;
    let mut wrong = Vec::new();
    for case in cases {
        let [etcd, proxy] = case.ask(&pair).await;
        if !agree(&etcd, &proxy) {
            wrong.push(format!("{}:\n  etcd  {etcd:?}\n  proxy {proxy:?}", case.name));
        }
    }
    println!("{} requests compared", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
