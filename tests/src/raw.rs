//! gRPC written by hand: one HTTP/2 connection on which a test chooses every header, byte and window itself.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::wait::DEADLINE;

/// A message as a gRPC frame, uncompressed.
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).expect("a message below 4 GiB"));
    out.put_slice(message);
    out.freeze()
}

/// A gRPC request without a body; `path` is `/package.Service/Method`.
pub fn request(path: &str) -> Request<()> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request")
}

/// One connection. Clones share it; it is closed when all are gone.
#[derive(Clone, Debug)]
pub struct RawConnection {
    sender: SendRequest<Bytes>,
}

impl RawConnection {
    /// Connects to `address` (`127.0.0.1:PORT`) without TLS.
    pub async fn connect(address: &str) -> Self {
        Self::connect_with(address, 1 << 20).await.0
    }

    /// The same, with a window of `window` bytes per stream and as much again for the connection, and the task of the
    /// connection, which ends with it.
    pub async fn connect_with(address: &str, window: u32) -> (Self, JoinHandle<Result<(), h2::Error>>) {
        let stream = TcpStream::connect(address).await.expect("a TCP connection");
        stream.set_nodelay(true).expect("no delay");
        Self::over(stream, window).await.expect("an HTTP/2 connection")
    }

    /// Speaks HTTP/2 over `stream`.
    pub async fn over<S>(
        stream: S,
        window: u32,
    ) -> Result<(Self, JoinHandle<Result<(), h2::Error>>), h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = Builder::new()
            .initial_window_size(window)
            .initial_connection_window_size(2 * window)
            .handshake(stream)
            .await?;
        Ok((Self { sender }, tokio::spawn(connection)))
    }

    /// Opens a stream. What is sent and when is up to the caller.
    pub async fn open(&self, request: Request<()>) -> Result<RawStream, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, sender) = sender.send_request(request, false)?;
        Ok(RawStream { response, sender })
    }

    /// One message to `path` and everything that comes back. Panics after [`DEADLINE`].
    pub async fn call(&self, path: &str, message: &[u8]) -> Answer {
        self.exchange(request(path), frame(message)).await
    }

    /// A request with `body` as its whole body, and everything that comes back. Panics after [`DEADLINE`].
    pub async fn exchange(&self, request: Request<()>, body: Bytes) -> Answer {
        match self.open(request).await {
            Ok(mut stream) => {
                stream.send(body, true);
                stream.finish().await
            }
            Err(error) => Answer::broken(&error),
        }
    }
}

/// One stream of a [`RawConnection`]. Dropping it resets the stream.
#[derive(Debug)]
pub struct RawStream {
    pub response: ResponseFuture,
    pub sender: SendStream<Bytes>,
}

impl RawStream {
    /// Queues bytes of the body; a stream that has ended takes none, and says so to whoever reads it.
    pub fn send(&mut self, data: Bytes, end: bool) {
        self.sender.send_data(data, end).ok();
    }

    /// Reads the answer to its end. Panics after [`DEADLINE`].
    pub async fn finish(self) -> Answer {
        self.finish_within(DEADLINE).await
    }

    /// Reads the answer to its end. Panics after `limit`.
    pub async fn finish_within(self, limit: Duration) -> Answer {
        let answer = timeout(limit, read_answer(self.response)).await;
        answer.unwrap_or_else(|_| panic!("no answer within {limit:?}"))
    }

    /// Waits for the head of the answer and leaves its body unread.
    pub async fn head(self) -> Result<(HeaderMap, RecvStream, SendStream<Bytes>), h2::Error> {
        self.head_within(DEADLINE).await
    }

    /// The same. Panics after `limit`.
    pub async fn head_within(
        self,
        limit: Duration,
    ) -> Result<(HeaderMap, RecvStream, SendStream<Bytes>), h2::Error> {
        let response = timeout(limit, self.response).await.expect("the head of an answer")?;
        let (head, body) = response.into_parts();
        Ok((head.headers, body, self.sender))
    }
}

async fn read_answer(response: ResponseFuture) -> Answer {
    let (head, mut body) = match response.await {
        Ok(response) => response.into_parts(),
        Err(error) => return Answer::broken(&error),
    };
    let mut answer = Answer { http: Some(head.status), headers: head.headers, ..Answer::default() };
    let mut data = BytesMut::new();
    let ended = loop {
        match body.data().await {
            Some(Ok(chunk)) => {
                body.flow_control().release_capacity(chunk.len()).ok();
                data.extend_from_slice(&chunk);
            }
            Some(Err(error)) => break Err(error),
            None => break body.trailers().await,
        }
    };
    answer.body = data.freeze();
    match ended {
        Ok(trailers) => answer.trailers = trailers,
        Err(error) => answer.error = Some((error.reason(), error.to_string())),
    }
    answer
}

/// Everything that came back on one stream.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// `None` if nothing came.
    pub http: Option<StatusCode>,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// How the stream or its connection broke.
    pub error: Option<(Option<Reason>, String)>,
}

impl Answer {
    fn broken(error: &h2::Error) -> Self {
        Self { error: Some((error.reason(), error.to_string())), ..Self::default() }
    }

    /// The gRPC status, code and text as on the wire; `None` if there is none.
    pub fn status(&self) -> Option<(u32, String)> {
        let held = [self.trailers.as_ref(), Some(&self.headers)];
        let map = held.into_iter().flatten().find(|map| map.contains_key("grpc-status"))?;
        let text =
            |name: &str| map.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Some((text("grpc-status")?.parse().ok()?, text("grpc-message").unwrap_or_default()))
    }

    pub fn is_ok(&self) -> bool {
        self.error.is_none() && self.status().is_some_and(|(code, _)| code == 0)
    }

    /// The messages of the body. Panics on a frame that is compressed or cut off.
    pub fn messages(&self) -> Vec<Bytes> {
        let mut rest = self.body.clone();
        let mut out = Vec::new();
        while !rest.is_empty() {
            let prefix = rest.split_to(5);
            assert_eq!(prefix[0], 0, "a compressed frame");
            let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
            out.push(rest.split_to(len as usize));
        }
        out
    }

    /// The only message.
    pub fn message(&self) -> Bytes {
        let mut messages = self.messages();
        assert_eq!(messages.len(), 1, "{self:?}");
        messages.remove(0)
    }
}
