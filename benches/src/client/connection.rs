//! One HTTP/2 connection, and calls on it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::frames;
use crate::error::BenchError;

/// Large enough that a list never waits for the reader's permission to go on.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// What to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Put,
    Range,
    Txn,
    Watch,
}

/// Closes when it and all its [`Caller`]s are gone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
}

/// Calls one method on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    sender: SendRequest<Bytes>,
    head: Request<()>,
}

// === impl Method ===

impl Method {
    fn path(self) -> &'static str {
        match self {
            Self::Put => "/etcdserverpb.KV/Put",
            Self::Range => "/etcdserverpb.KV/Range",
            Self::Txn => "/etcdserverpb.KV/Txn",
            Self::Watch => "/etcdserverpb.Watch/Watch",
        }
    }
}

// === impl Connection ===

impl Connection {
    /// Connects, and drives the connection in a task of the current runtime.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, BenchError> {
        let failed = |cause| BenchError::io(format!("connect to {address}"), cause);
        let handshake = async {
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let mut builder = Builder::new();
            builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
            builder.handshake(stream).await.map_err(BenchError::Http2)
        };
        let (sender, connection) =
            timeout(HANDSHAKE_LIMIT, handshake).await.map_err(|elapsed| failed(elapsed.into()))??;
        // Its error reaches every call on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, address })
    }

    pub(crate) fn caller(&self, method: Method) -> Result<Caller, BenchError> {
        let head = Request::post(format!("http://{}{}", self.address, method.path()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "etcd-prism-bench")
            .header("client-api-version", "3.6")
            .body(())?;
        Ok(Caller { sender: self.sender.clone(), head })
    }
}

// === impl Caller ===

impl Caller {
    /// One request and its one reply, both as gRPC frames; the reply's message is returned without its prefix.
    pub(crate) async fn call(&mut self, request: Bytes) -> Result<Bytes, BenchError> {
        let mut body = Bytes::new();
        let append = |chunk: Bytes| {
            body = if body.is_empty() { chunk } else { Bytes::from([&body[..], &chunk].concat()) };
        };
        self.read(request, append).await?;
        frames::message(body)
    }

    /// One request; the reply's bytes go to `on_data` as they come.
    pub(crate) async fn read(
        &mut self,
        request: Bytes,
        mut on_data: impl FnMut(Bytes),
    ) -> Result<(), BenchError> {
        let (response, mut sender) = self.send_head().await?;
        sender.send_data(request, true)?;
        let (head, mut body) = response.await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(BenchError::HttpStatus(head.status));
        }
        while let Some(chunk) = next(&mut body).await? {
            on_data(chunk);
        }
        match body.trailers().await? {
            Some(trailers) => check_status(&trailers),
            None => check_status(&head.headers),
        }
    }

    /// Opens a stream with a first message. The stream ends when either part is dropped.
    pub(crate) async fn stream(
        &mut self,
        first: Bytes,
    ) -> Result<(SendStream<Bytes>, RecvStream), BenchError> {
        let (response, mut sender) = self.send_head().await?;
        sender.send_data(first, false)?;
        let (head, body) = response.await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(BenchError::HttpStatus(head.status));
        }
        // A call that fails at once has its status here.
        if head.headers.contains_key("grpc-status") {
            check_status(&head.headers)?;
        }
        Ok((sender, body))
    }

    async fn send_head(&mut self) -> Result<(ResponseFuture, SendStream<Bytes>), BenchError> {
        std::future::poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        Ok(self.sender.send_request(self.head.clone(), false)?)
    }
}

/// The next chunk of a body, with its window given back.
pub(crate) async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, BenchError> {
    let Some(chunk) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(chunk.len())?;
    Ok(Some(chunk))
}

fn check_status(headers: &HeaderMap) -> Result<(), BenchError> {
    let text =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match headers.get("grpc-status") {
        Some(code) if code == "0" => Ok(()),
        Some(_) => Err(BenchError::Grpc {
            code: text("grpc-status").unwrap_or_default(),
            message: text("grpc-message").unwrap_or_default(),
        }),
        None => Err(BenchError::Incomplete("gRPC status")),
    }
}
