//! A shard that is not etcd: an HTTP/2 server that answers what a test tells it to, well-formed or not.

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use etcd_prism_proto::etcdserverpb::{AlarmResponse, RangeResponse, ResponseHeader, StatusResponse};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::raw;

/// The version it claims to be.
pub const VERSION: &str = "3.7.3";

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;
type Handler = Arc<dyn Fn(FakeCall) -> Answering + Send + Sync>;

/// Answers `Status` and `Alarm` as a healthy etcd of one member, and leaves the rest to the test. Stops when dropped.
#[derive(Debug)]
pub struct FakeShard {
    address: String,
    acceptor: AbortHandle,
}

impl FakeShard {
    /// `answer` gets every call but those that the health check makes.
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(FakeCall) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let handler: Handler = Arc::new(move |call| Box::pin(answer(call)));
        let acceptor = tokio::spawn(accept(listener, handler)).abort_handle();
        Self { address, acceptor }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FakeShard {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, handler: Handler) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, handler.clone()));
    }
}

async fn serve(stream: TcpStream, handler: Handler) {
    stream.set_nodelay(true).ok();
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        calls.spawn(answer(FakeCall::new(request, respond), handler.clone()));
    }
}

async fn answer(mut call: FakeCall, handler: Handler) {
    match call.path() {
        "/etcdserverpb.Maintenance/Status" => {
            let header = Some(header(1));
            let version = VERSION.to_owned();
            let status = StatusResponse { header, version, leader: 1, raft_index: 1, ..Default::default() };
            call.reply(&status.encode_to_vec());
        }
        "/etcdserverpb.Maintenance/Alarm" => {
            call.reply(&AlarmResponse { header: Some(header(1)), alarms: Vec::new() }.encode_to_vec());
        }
        _ => handler(call).await,
    }
}

/// The header of the fake's replies.
pub fn header(revision: i64) -> ResponseHeader {
    ResponseHeader { cluster_id: 77, member_id: 1, revision, raft_term: 1 }
}

/// An answer to a Range without keys.
pub fn empty_range(revision: i64) -> Vec<u8> {
    RangeResponse { header: Some(header(revision)), ..Default::default() }.encode_to_vec()
}

/// One call from the proxy.
#[derive(Debug)]
pub struct FakeCall {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
}

impl FakeCall {
    fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        Self { request, respond }
    }

    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// The request's body up to its end.
    pub async fn body(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        let body = self.request.body_mut();
        while let Some(Ok(chunk)) = body.data().await {
            body.flow_control().release_capacity(chunk.len()).ok();
            out.extend_from_slice(&chunk);
        }
        out.freeze()
    }

    /// The request's one message.
    pub async fn message(&mut self) -> Bytes {
        let body = self.body().await;
        assert!(body.len() >= 5, "no frame: {body:?}");
        body.slice(5..)
    }

    /// A well-formed unary reply.
    pub fn reply(&mut self, message: &[u8]) {
        let mut body = self.head(HeaderMap::new());
        send(&mut body, raw::frame(message));
        end(&mut body, &[("grpc-status", "0")]);
    }

    /// A reply that is a status only, as grpc-go sends it.
    pub fn refuse(&mut self, code: u32, text: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", code.into());
        headers.insert("grpc-message", HeaderValue::from_str(text).expect("a header value"));
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        self.respond.send_response(response, true).ok();
    }

    /// The head of a gRPC reply with further headers; the body is the caller's.
    pub fn head(&mut self, headers: HeaderMap) -> SendStream<Bytes> {
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        self.respond.send_response(response, false).expect("a stream to answer on")
    }

    /// Waits until the proxy resets the stream.
    pub async fn cancelled(&mut self) -> Reason {
        std::future::poll_fn(|cx| self.respond.poll_reset(cx)).await.unwrap_or(Reason::INTERNAL_ERROR)
    }
}

/// Sends data; a proxy that is gone gets none.
pub fn send(body: &mut SendStream<Bytes>, data: Bytes) {
    body.send_data(data, false).ok();
}

/// Ends a reply with trailers.
pub fn end(body: &mut SendStream<Bytes>, trailers: &[(&'static str, &str)]) {
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        map.insert(*name, HeaderValue::from_str(value).expect("a header value"));
    }
    body.send_trailers(map).ok();
}
