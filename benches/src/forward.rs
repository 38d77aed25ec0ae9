//! A proxy that speaks HTTP/2 on both sides and does nothing else: what the libraries cost that etcd-prism is built on.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::error::BenchError;

/// Large enough that a list never waits for permission to go on.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
const MOST_STREAMS: u32 = 1 << 20;

/// Accepts on `listen`, with a connection to `to` for each, for as long as the process lives.
pub(crate) async fn run(listen: SocketAddr, to: SocketAddr) -> Result<(), BenchError> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|cause| BenchError::io(format!("listen on {listen}"), cause))?;
    loop {
        let (client, _) =
            listener.accept().await.map_err(|cause| BenchError::io("accept a connection", cause))?;
        tokio::spawn(async move {
            if let Err(error) = forward(client, to).await {
                eprintln!("a connection to {to}: {error}");
            }
        });
    }
}

async fn forward(client: TcpStream, to: SocketAddr) -> Result<(), BenchError> {
    let failed = |cause| BenchError::io(format!("connect to {to}"), cause);
    let upstream = TcpStream::connect(to).await.map_err(failed)?;
    client.set_nodelay(true).map_err(failed)?;
    upstream.set_nodelay(true).map_err(failed)?;
    let (sender, connection) = client::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake::<_, Incoming>(TokioIo::new(upstream))
        .await?;
    // Its error reaches every call on it.
    tokio::spawn(async move { drop(connection.await) });
    let service = service_fn(move |request| {
        let mut sender = sender.clone();
        async move { sender.send_request(request).await }
    });
    server::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .serve_connection(TokioIo::new(client), service)
        .await?;
    Ok(())
}
