//! Clients that begin and do not go on. Each is let go within a bound, and costs next to nothing until then.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_tests::raw::{RawConnection, frame, request};
use etcd_prism_tests::request::{get, put};
use etcd_prism_tests::topology::Topology;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The proxy lets a connection go that has not greeted after 10 s, and a request that has not arrived after 20 s.
const BOUND: Duration = Duration::from_secs(40);
/// Of each kind.
const CLIENTS: usize = 100;
const ROOM: u64 = 32 << 20;

/// What a client sends before it falls silent.
const BEGINNINGS: &[(&str, &[u8])] = &[
    ("nothing", b""),
    ("a letter", b"P"),
    ("the first word of the preface", b"PRI"),
    ("half of the preface", b"PRI * HTTP/2.0\r\n"),
    ("a letter of HTTP/1", b"G"),
    ("half of an HTTP/1 request", b"GET /health HTTP/1.1\r\nHost: a\r\n"),
];

#[tokio::test]
async fn connections_that_do_not_greet_are_let_go() {
    let topology = Topology::four_shards().await;
    let address = topology.proxy.endpoint().replace("http://", "");
    let client = topology.client();
    client.kv().put(put("/registry/pods/a", "1")).await.expect("a write");
    let before = topology.proxy.rss();
    let mut waits = tokio::task::JoinSet::new();
    for (what, beginning) in BEGINNINGS {
        for _ in 0..CLIENTS {
            let mut stream = TcpStream::connect(&address).await.expect("a connection");
            stream.write_all(beginning).await.expect("the beginning");
            waits.spawn(async move {
                let start = Instant::now();
                let mut rest = Vec::new();
                let end = tokio::time::timeout(BOUND, stream.read_to_end(&mut rest)).await;
                (*what, end.is_ok(), start.elapsed())
            });
        }
    }
    client.kv().put(put("/registry/pods/a", "2")).await.expect("a write meanwhile");
    let grown = topology.proxy.rss().saturating_sub(before);
    println!("{} silent connections: the proxy grew by {} KiB", BEGINNINGS.len() * CLIENTS, grown >> 10);
    assert!(grown < ROOM);
    let mut open: Vec<&str> = Vec::new();
    let mut longest = Duration::ZERO;
    while let Some(wait) = waits.join_next().await {
        let (what, closed, took) = wait.expect("a client");
        longest = longest.max(took);
        if !closed && !open.contains(&what) {
            open.push(what);
        }
    }
    println!("the last was let go after {longest:.1?}");
    assert!(open.is_empty(), "still open after {BOUND:?}: {open:?}");
}

/// Requests without a body, and with one that comes byte by byte.
#[tokio::test]
async fn requests_that_do_not_arrive_are_refused() {
    let topology = Topology::four_shards().await;
    let address = topology.proxy.endpoint().replace("http://", "");
    let client = topology.client();
    let connection = RawConnection::connect(&address).await;
    let body = frame(&put("/registry/pods/slow", &vec![b'x'; 4096]).encode_to_vec());
    let mut waits = tokio::task::JoinSet::new();
    for index in 0..CLIENTS {
        let mut stream = connection.open(request("/etcdserverpb.KV/Put")).await.expect("a stream");
        let drips = index % 2 == 0;
        let body = body.clone();
        waits.spawn(async move {
            if drips {
                let mut rest = body;
                let mut sender = stream.sender;
                let drip = async move {
                    while rest.len() > 1 && sender.send_data(rest.split_to(1), false).is_ok() {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    std::future::pending::<()>().await;
                };
                let response = async {
                    let response =
                        tokio::time::timeout(BOUND, stream.response).await.expect("an answer in time");
                    response.map(|response| response.headers().get("grpc-status").cloned())
                };
                tokio::select! {
                    status = response => status.expect("a status").is_some_and(|code| code != "0"),
                    () = drip => unreachable!("it drips for ever"),
                }
            } else {
                stream.send(Bytes::new(), false);
                let answer = stream.finish_within(BOUND).await;
                answer.status().is_some_and(|(code, _)| code != 0)
            }
        });
    }
    while let Some(refused) = waits.join_next().await {
        assert!(refused.expect("a client"), "a status that is an error");
        // The connection itself serves others all the while.
        let next = connection.call("/etcdserverpb.KV/Range", &get("/registry/pods/a").encode_to_vec()).await;
        assert!(next.is_ok(), "{next:?}");
    }
    let found = client.kv().range(get("/registry/pods/slow")).await.expect("a read").into_inner();
    assert!(found.kvs.is_empty(), "half a request was carried out: {found:?}");
}
