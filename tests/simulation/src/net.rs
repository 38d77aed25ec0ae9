//! Servers and clients on the simulated network.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use etcd_prism_upstream::dial::{Dial, Stream};
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};

use std::time::Duration;

/// Where everybody listens.
pub const PORT: u16 = 2379;

/// How proxies reach shards.
#[derive(Debug)]
pub struct Simulated;

impl Dial for Simulated {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// Serves HTTP/2 on the host that this runs on, for ever.
pub async fn serve<A, F, B>(answer: A) -> io::Result<()>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = answer.clone();
        let service = service_fn(move |request| {
            let answer = answer.clone();
            async move { Ok::<_, Infallible>(answer(request).await) }
        });
        let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

/// A client's connection to a proxy, made when it is used and again when it broke.
pub fn channel(host: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{host}:{PORT}")).expect("a URL");
    endpoint
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(3))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(tower::service_fn(|uri: http::Uri| async move {
            let host = uri.host().unwrap_or_default().to_owned();
            Ok::<_, io::Error>(TokioIo::new(TcpStream::connect((host, PORT)).await?))
        }))
}
