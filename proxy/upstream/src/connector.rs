//! One HTTP/2 connection to an endpoint, made when needed and again when it broke.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{StatusRequest, StatusResponse};
use futures_util::FutureExt;
use futures_util::future::Shared;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use metrics::counter;
use parking_lot::Mutex;
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::body::RequestBody;
use crate::endpoint::EndpointState;
use crate::error::UpstreamError;
use crate::reply::{Places, Reply, lost};
use crate::shard::ShardState;
use crate::{pool, rpc};

/// Why a connection could not be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Io(Arc<std::io::Error>),
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Tls(Arc<etcd_prism_tls::TlsError>),
    #[error("the endpoint does not offer HTTP/2 over TLS (ALPN h2)")]
    NoHttp2,
    #[error("HTTP/2 handshake: {0}")]
    Handshake(Arc<hyper::Error>),
    #[error("it does not say which etcd cluster it is: {0}")]
    Status(Arc<UpstreamError>),
    #[error("it belongs to etcd cluster {found:x}, not to {expected:x}")]
    OtherCluster { expected: u64, found: u64 },
}

/// Flow control of a connection, in bytes. h2 closes a connection on which half of the connection window came in very
/// small frames at once, so that window is large.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub stream: u32,
    pub connection: u32,
}

/// A connection, and the etcd cluster that it leads to; 0: it did not say, for want of a login.
#[derive(Debug, Clone)]
struct Live {
    handle: SendRequest<RequestBody>,
    cluster: u64,
}

type Attempt = Shared<Pin<Box<dyn Future<Output = Result<Live, ConnectError>> + Send>>>;

/// A connection slot.
#[derive(Debug)]
pub(crate) struct Connector {
    shard: Arc<ShardState>,
    endpoint: Arc<EndpointState>,
    windows: Windows,
    current: Mutex<Option<Live>>,
    /// The attempt under way. It runs by itself, so that a thousand waiting requests make one connection, share its
    /// failure, and cannot cut it short by giving up.
    attempt: Mutex<Option<Attempt>>,
    streams: Arc<AtomicUsize>,
}

impl Connector {
    pub(crate) fn new(shard: Arc<ShardState>, endpoint: Arc<EndpointState>, windows: Windows) -> Self {
        Self {
            shard,
            endpoint,
            windows,
            current: Mutex::new(None),
            attempt: Mutex::new(None),
            streams: Arc::default(),
        }
    }

    pub(crate) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Counts a stream on this connection until the guard is dropped.
    pub(crate) fn stream_guard(&self) -> StreamGuard {
        self.streams.fetch_add(1, Ordering::Relaxed);
        StreamGuard { streams: self.streams.clone() }
    }

    /// A handle to a live connection, which leads to the etcd cluster that the shard is, as far as that is known.
    pub(crate) async fn ready(&self) -> Result<SendRequest<RequestBody>, ConnectError> {
        if let Some(live) = self.live()
            && let Some(handle) = self.checked(live)?
        {
            return Ok(handle);
        }
        let attempt = {
            let mut slot = self.attempt.lock();
            match &*slot {
                Some(attempt) if attempt.peek().is_none() => attempt.clone(),
                _ => slot.insert(self.start()).clone(),
            }
        };
        let live = attempt.await?;
        *self.current.lock() = Some(live.clone());
        let handle = live.handle.clone();
        // A connection that could not be asked is good for the login that is due, and nothing else would be answered.
        Ok(self.checked(live)?.unwrap_or(handle))
    }

    /// The connection, unless it leads elsewhere; `None` if it has to be asked again, now that there is a login.
    fn checked(&self, live: Live) -> Result<Option<SendRequest<RequestBody>>, ConnectError> {
        let Some(expected) = self.shard.expected_cluster() else { return Ok(Some(live.handle)) };
        match live.cluster {
            0 => Ok(None),
            found if found == expected => Ok(Some(live.handle)),
            found => {
                *self.current.lock() = None;
                Err(ConnectError::OtherCluster { expected, found })
            }
        }
    }

    fn start(&self) -> Attempt {
        let (endpoint, windows) = (self.endpoint.clone(), self.windows);
        let (shard, guard) = (self.shard.clone(), self.stream_guard());
        let bound = endpoint.connect_timeout;
        let running = tokio::spawn(async move {
            let connecting = async {
                let mut handle = connect(&endpoint, windows).await?;
                let cluster = ask_cluster(&shard, &endpoint, &mut handle, guard).await?;
                endpoint.set_cluster(cluster);
                Ok(Live { handle, cluster })
            };
            let outcome = tokio::time::timeout(bound, connecting).await;
            let outcome = outcome.map_err(|_| ConnectError::TimedOut(bound)).flatten();
            let result = if outcome.is_ok() { "ok" } else { "failed" };
            let url = endpoint.endpoint.url.clone();
            counter!("etcd_prism_upstream_connects_total", "endpoint" => url, "result" => result)
                .increment(1);
            outcome
        });
        let attempt: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(
                async move { running.await.unwrap_or_else(|e| Err(ConnectError::Io(Arc::new(e.into())))) },
            );
        attempt.shared()
    }

    fn live(&self) -> Option<Live> {
        self.current.lock().as_ref().filter(|live| !live.handle.is_closed()).cloned()
    }
}

/// Asks which etcd cluster answers. One question per connection: a connection stays with the process that accepted it.
async fn ask_cluster(
    shard: &ShardState,
    endpoint: &EndpointState,
    handle: &mut SendRequest<RequestBody>,
    guard: StreamGuard,
) -> Result<u64, ConnectError> {
    let mut metadata = HeaderMap::new();
    if let Some(token) = &*shard.token.load() {
        metadata.insert("token", HeaderValue::clone(token));
    }
    let frame = rpc::frame_of(&StatusRequest::default());
    let path = PathAndQuery::from_static(rpc::STATUS);
    let question = pool::request(endpoint, &path, &metadata, RequestBody::once(frame));
    let failed = |error| ConnectError::Status(Arc::new(error));
    let response = handle.send_request(question).await.map_err(|e| failed(lost(&shard.name, &e)))?;
    let reply = Reply::new(&shard.name, response, Places { _stream: guard }).map_err(failed)?;
    match reply.message(&shard.name).await {
        Ok(message) => {
            let status = StatusResponse::decode(message).map_err(|e| {
                failed(UpstreamError::BadReply { shard: shard.name.clone(), reason: e.to_string() })
            })?;
            Ok(status.header.map_or(0, |header| header.cluster_id))
        }
        Err(UpstreamError::Status(_)) => Ok(0),
        Err(error) => Err(failed(error)),
    }
}

async fn connect(
    endpoint: &EndpointState,
    windows: Windows,
) -> Result<SendRequest<RequestBody>, ConnectError> {
    let io = |error| ConnectError::Io(Arc::new(error));
    let address = &endpoint.endpoint;
    if let Some(dial) = &endpoint.dial {
        let stream = dial.dial(&address.host, address.port).await.map_err(io)?;
        return greet(endpoint, windows, stream).await;
    }
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(io)?;
    tcp.set_nodelay(true).map_err(io)?;
    greet(endpoint, windows, tcp).await
}

/// TLS, where there is any, and HTTP/2.
async fn greet<S>(
    endpoint: &EndpointState,
    windows: Windows,
    stream: S,
) -> Result<SendRequest<RequestBody>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(tls) = &endpoint.tls else { return handshake(endpoint, windows, stream).await };
    let name = tls.server_name(&endpoint.endpoint.host).map_err(|e| ConnectError::Tls(Arc::new(e)))?;
    let connector = tokio_rustls::TlsConnector::from(tls.current());
    let stream = connector.connect(name, stream).await.map_err(|error| ConnectError::Io(Arc::new(error)))?;
    if stream.get_ref().1.alpn_protocol() != Some(etcd_prism_tls::ALPN_H2) {
        return Err(ConnectError::NoHttp2);
    }
    handshake(endpoint, windows, stream).await
}

async fn handshake<S>(
    endpoint: &EndpointState,
    windows: Windows,
    stream: S,
) -> Result<SendRequest<RequestBody>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (handle, connection) = Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        // etcd allows as many as a client likes; its SETTINGS come after the first requests.
        .initial_max_send_streams(1 << 20)
        .max_concurrent_reset_streams(4096)
        .keep_alive_interval(endpoint.keepalive_interval)
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(false)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ConnectError::Handshake(Arc::new(error)))?;
    let url = endpoint.endpoint.url.clone();
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(endpoint = %url, %error, "upstream connection ended");
        }
    });
    Ok(handle)
}

/// Counts a stream while it is open.
#[derive(Debug)]
pub struct StreamGuard {
    streams: Arc<AtomicUsize>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
