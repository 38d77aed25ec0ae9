//! One client connection: TLS, protocol, requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::greeting::Greeting;
use crate::context::Connection;
use crate::dispatch;
use crate::gateway::Worker;

/// Longest time from the connection to the first bytes of its protocol, TLS included; then again for the rest of the
/// HTTP/2 preface.
const GREETING: Duration = Duration::from_secs(10);
/// Longest list of headers of a request, in bytes.
const MAX_HEADERS: u32 = 64 * 1024;

/// Serves a connection until it ends, is drained or cut.
pub(super) async fn serve(
    worker: Arc<Worker>,
    options: Arc<Options>,
    stream: TcpStream,
    closing: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection");
        return;
    }
    let greeted = tokio::time::timeout(GREETING, async {
        match &options.tls {
            None => Ok(Greeted::Plain(speaks_http2(&stream).await?, stream)),
            Some(tls) => {
                let acceptor = tokio_rustls::TlsAcceptor::from(tls.load().current());
                let stream = acceptor.accept(stream).await?;
                // Without ALPN a client speaks HTTP/1.1, as kubeadm's version check does; gRPC clients negotiate.
                let http2 = stream.get_ref().1.alpn_protocol() == Some(etcd_prism_tls::ALPN_H2);
                Ok::<_, std::io::Error>(Greeted::Tls(http2, Box::new(stream)))
            }
        }
    });
    let end = match greeted.await {
        Ok(Ok(Greeted::Plain(http2, stream))) => requests(worker, &options, stream, http2, closing).await,
        Ok(Ok(Greeted::Tls(http2, stream))) => requests(worker, &options, *stream, http2, closing).await,
        Ok(Err(error)) => {
            tracing::debug!(%error, "handshake");
            return;
        }
        Err(_) => {
            tracing::debug!("a client did not greet in time");
            return;
        }
    };
    if let Err(error) = end {
        tracing::debug!(%error, "connection ended");
    }
}

enum Greeted {
    Plain(bool, TcpStream),
    Tls(bool, Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// Looks at the first bytes: HTTP/2 with prior knowledge begins with `PRI`, which is no HTTP/1 method.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut buf = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut buf).await?;
        if seen == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(&buf[..seen]) {
            return Ok(false);
        }
        if seen == PREFACE.len() {
            return Ok(true);
        }
        // The rest of the preface is on its way; peeking does not wait for it.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn requests<S>(
    worker: Arc<Worker>,
    options: &Options,
    stream: S,
    http2: bool,
    closing: CancellationToken,
) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let draining = worker.gateway.draining.clone();
    let connection = Arc::new(Connection::default());
    let service = service_fn(move |request| {
        // Mapped, not awaited in a block of its own, which would hold the future twice.
        dispatch::handle(worker.clone(), connection.clone(), request).map(Ok::<_, Infallible>)
    });
    if http2 {
        let io = TokioIo::new(Greeting::new(stream, GREETING));
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            // h2 allows half of this in very small frames at once; watch requests are small frames.
            .initial_connection_window_size(16 << 20)
            .max_concurrent_streams(options.max_concurrent_streams)
            .max_header_list_size(MAX_HEADERS)
            .max_send_buf_size(256 << 10)
            .max_local_error_reset_streams(4096)
            .max_pending_accept_reset_streams(4096)
            .keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(io, service);
        drive(served, draining, closing, |c| c.graceful_shutdown()).await
    } else {
        let io = TokioIo::new(stream);
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(GREETING)
            .max_buf_size(MAX_HEADERS as usize)
            .serve_connection(io, service);
        drive(served, draining, closing, |c| c.graceful_shutdown()).await
    }
}

/// Drives a connection; when the proxy drains, it takes no new requests and finishes what it has.
async fn drive<C>(
    connection: C,
    draining: CancellationToken,
    closing: CancellationToken,
    goodbye: impl Fn(std::pin::Pin<&mut C>),
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        end = connection.as_mut() => return end,
        () = draining.cancelled() => goodbye(connection.as_mut()),
    }
    tokio::select! {
        end = connection => end,
        () = closing.cancelled() => Ok(()),
    }
}
