//! What is spoken over TLS: HTTP/2 for gRPC, HTTP/1.1 or HTTP/2 for probes, whatever the client offers.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::client::Dialler;
use crate::mutual::Site;

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://127.0.0.1{path}"))
        .header("host", "127.0.0.1")
        .body(Empty::new())
        .expect("a request")
}

#[tokio::test]
async fn http1_is_spoken_where_it_is_offered_alone() {
    let site = Site::start(&[]).await;
    let identity = site.clients.issue("prober");
    for offered in [&[b"http/1.1".as_slice()][..], &[b"http/1.1", b"h2"]] {
        let stream = Dialler::offering(&site.servers, Some(&identity), offered)
            .handshake(&site.address())
            .await
            .expect("TLS");
        // The server's order counts: gRPC is what the port is for.
        let expected = if offered.len() == 1 { b"http/1.1".as_slice() } else { b"h2" };
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(expected));
    }
    let stream = Dialler::offering(&site.servers, Some(&identity), &[b"http/1.1"])
        .handshake(&site.address())
        .await
        .expect("TLS");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    for path in ["/health", "/version", "/livez", "/readyz", "/metrics"] {
        let response = sender.send_request(get(path)).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        response.into_body().collect().await.expect("a body");
    }
}

/// Probes and scrapers that speak HTTP/2 where they can, as etcd's port lets them.
#[tokio::test]
async fn probes_work_over_http2() {
    let site = Site::start(&[]).await;
    let identity = site.clients.issue("prober");
    let stream = Dialler::new(&site.servers, Some(&identity)).handshake(&site.address()).await.expect("TLS");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    for path in ["/health", "/version", "/livez", "/readyz", "/metrics"] {
        let response = sender.send_request(get(path)).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(!body.is_empty(), "{path}");
    }
}

/// Without ALPN a client gets HTTP/1.1, as from etcd: kubeadm's check of the version is one.
#[tokio::test]
async fn http1_is_spoken_where_nothing_is_offered() {
    let site = Site::start(&[]).await;
    let dialler = Dialler::offering(&site.servers, Some(&site.clients.issue("old")), &[]);
    let stream = dialler.handshake(&site.address()).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let response = sender.send_request(get("/version")).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
}
