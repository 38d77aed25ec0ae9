//! One worker's connections to one shard.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use hyper::client::conn::http2::SendRequest;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::auth;
use crate::body::RequestBody;
use crate::connector::{Connector, StreamGuard, Windows};
use crate::endpoint::EndpointState;
use crate::error::UpstreamError;
use crate::reply::{Places, Reply, lost};
use crate::shard::ShardState;

/// Kinds of traffic that do not share connections: a stalled reader of one must not use up a window that another needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Requests and replies of moderate size.
    Unary,
    /// Lists and other replies without a bound on their size.
    Bulk,
    /// Long-lived streams of small messages.
    Watch,
}

impl Class {
    /// Streams per connection before another one is opened.
    fn max_streams(self) -> usize {
        match self {
            Class::Unary => 4000,
            Class::Bulk => 48,
            Class::Watch => 1000,
        }
    }

    /// The windows of all streams together stay below the connection's, so that streams that nobody reads leave room for
    /// the others. A window is room that is granted, not memory that is taken.
    fn windows(self) -> Windows {
        match self {
            Class::Unary => Windows { stream: 256 << 10, connection: 1 << 30 },
            Class::Bulk => Windows { stream: 1 << 20, connection: 64 << 20 },
            Class::Watch => Windows { stream: 256 << 10, connection: 256 << 20 },
        }
    }
}

/// Whether a call may be sent a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never once a byte of it may have reached a shard.
    Never,
    /// Once, on another endpoint: reads only.
    OnceElsewhere,
}

/// A unary or server-streaming call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Path of the method.
    pub path: http::uri::PathAndQuery,
    /// Metadata that goes upstream.
    pub metadata: HeaderMap,
    /// The request's gRPC frame.
    pub frame: Bytes,
    pub class: Class,
    pub retry: Retry,
    /// Longest wait for the head of the answer; `None`: the shard's bound. Methods that wait by design say how long.
    pub timeout: Option<Duration>,
    pub place: Place,
}

/// How a call counts against the shard's bound on requests in flight, until the head of its answer is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Counted,
    /// A health probe: it may go over the bound a little.
    Reserved,
    /// Not at all: a call that waits by design, for a lock say.
    None,
}

/// A bidirectional call that is open: frames go in by `sender`, the reply's head comes when the shard sends it.
#[derive(Debug)]
pub struct OpenStream {
    pub sender: mpsc::UnboundedSender<Bytes>,
    pub reply: ReplyHead,
    /// Where the stream goes.
    pub endpoint: Arc<EndpointState>,
}

/// The head of a stream's reply. etcd sends it with the first message.
pub struct ReplyHead {
    future: std::pin::Pin<Box<dyn Future<Output = Result<Reply, UpstreamError>> + Send>>,
}

impl std::fmt::Debug for ReplyHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReplyHead")
    }
}

impl Future for ReplyHead {
    type Output = Result<Reply, UpstreamError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.future.as_mut().poll(cx)
    }
}

/// One worker's connections to one shard.
#[derive(Debug)]
pub struct ShardPool {
    shard: Arc<ShardState>,
    /// By endpoint identity; entries of endpoints that were reconfigured away are dropped.
    members: Mutex<Vec<Arc<Member>>>,
}

#[derive(Debug)]
struct Member {
    endpoint: Arc<EndpointState>,
    connectors: [Mutex<Vec<Arc<Connector>>>; 3],
}

impl Member {
    fn connector(&self, class: Class, shard: &Arc<ShardState>) -> (Arc<Connector>, StreamGuard) {
        // The stream is counted under the lock, or any number of calls would choose the same connection while it is made.
        let mut connectors = self.connectors[class as usize].lock();
        let found = connectors.iter().find(|c| c.streams() < class.max_streams()).cloned();
        let connector = found.unwrap_or_else(|| {
            let made = Arc::new(Connector::new(shard.clone(), self.endpoint.clone(), class.windows()));
            connectors.push(made.clone());
            made
        });
        let guard = connector.stream_guard();
        (connector, guard)
    }
}

/// A connection with room for one more stream.
struct Ready {
    handle: SendRequest<RequestBody>,
    endpoint: Arc<EndpointState>,
    guard: StreamGuard,
}

impl ShardPool {
    pub fn new(shard: Arc<ShardState>) -> Self {
        Self { shard, members: Mutex::default() }
    }

    pub fn shard(&self) -> &Arc<ShardState> {
        &self.shard
    }

    /// Sends a call and waits for the head of its answer.
    pub async fn call(&self, call: Call) -> Result<Reply, UpstreamError> {
        let used = self.shard.token.load_full();
        let reply = self.call_with_token(&call).await?;
        let Some(status) =
            reply.early_status().filter(|s| self.shard.credentials.is_some() && auth::wants_login(s))
        else {
            return Ok(reply);
        };
        // The token was not good, so nothing was applied: log in and send again, once.
        tracing::debug!(shard = %self.shard.name, %status, "logging in again");
        Box::pin(auth::login(self, used.as_ref())).await?;
        self.call_with_token(&call).await
    }

    async fn call_with_token(&self, call: &Call) -> Result<Reply, UpstreamError> {
        let mut metadata = call.metadata.clone();
        if let Some(token) = &*self.shard.token.load() {
            metadata.insert("token", HeaderValue::clone(token));
        }
        self.send(call, metadata).await
    }

    pub(crate) async fn send(&self, call: &Call, metadata: HeaderMap) -> Result<Reply, UpstreamError> {
        let shard = &self.shard.name;
        // Given back when the head is here: how fast a client reads must not count against the others.
        let _place = match call.place {
            Place::None => None,
            counted => match self.shard.admit(counted == Place::Reserved) {
                Some(place) => Some(place),
                None => return Err(UpstreamError::Overloaded { shard: shard.clone() }),
            },
        };
        let deadline = Instant::now() + call.timeout.unwrap_or(self.shard.bounds().request_timeout);
        let mut avoid: Option<Arc<EndpointState>> = None;
        loop {
            let mut ready = self.connect(call.class, deadline, avoid.as_ref()).await?;
            let request =
                request(&ready.endpoint, &call.path, &metadata, RequestBody::once(call.frame.clone()));
            let error = match tokio::time::timeout_at(deadline, ready.handle.try_send_request(request)).await
            {
                Ok(Ok(response)) => {
                    return Reply::new(shard, response, Places { _stream: ready.guard });
                }
                Ok(Err(mut error)) => {
                    // The message comes back when no byte of it was sent.
                    if error.take_message().is_some() {
                        continue;
                    }
                    lost(shard, error.error())
                }
                Err(_) => UpstreamError::TimedOut { shard: shard.clone() },
            };
            let again = call.retry == Retry::OnceElsewhere && avoid.is_none() && Instant::now() < deadline;
            if !again {
                return Err(error);
            }
            avoid = Some(ready.endpoint);
        }
    }

    /// Opens a bidirectional stream. Waits for a connection at most until `deadline`.
    pub async fn open(
        &self,
        path: &http::uri::PathAndQuery,
        mut metadata: HeaderMap,
        deadline: Instant,
    ) -> Result<OpenStream, UpstreamError> {
        if self.shard.credentials.is_some() && self.shard.token.load().is_none() {
            auth::login(self, None).await?;
        }
        if let Some(token) = &*self.shard.token.load() {
            metadata.insert("token", HeaderValue::clone(token));
        }
        loop {
            let mut ready = self.connect(Class::Watch, deadline, None).await?;
            let (sender, receiver) = mpsc::unbounded_channel();
            let request = request(&ready.endpoint, path, &metadata, RequestBody::Stream(receiver));
            if ready.handle.is_closed() {
                continue;
            }
            let sent = ready.handle.send_request(request);
            let shard = self.shard.name.clone();
            let guard = ready.guard;
            let future = Box::pin(async move {
                let response = sent.await.map_err(|e| lost(&shard, &e))?;
                Reply::new(&shard, response, Places { _stream: guard })
            });
            return Ok(OpenStream { sender, reply: ReplyHead { future }, endpoint: ready.endpoint });
        }
    }

    /// A connection to the best endpoint that can be reached, waiting until `deadline` for one.
    async fn connect(
        &self,
        class: Class,
        deadline: Instant,
        avoid: Option<&Arc<EndpointState>>,
    ) -> Result<Ready, UpstreamError> {
        let mut backoff = Duration::from_millis(10);
        let mut reason = String::from("its breaker is open");
        loop {
            if self.shard.is_broken() {
                return Err(UpstreamError::Unreachable { shard: self.shard.name.clone(), reason });
            }
            let mut candidates = self.shard.by_preference();
            if let Some(avoid) = avoid {
                // Last, not never: there may be no other.
                candidates.sort_by_key(|e| Arc::ptr_eq(e, avoid));
            }
            for endpoint in candidates {
                // The health check tells when it leads back.
                if let Some(found) = self.shard.leads_elsewhere(&endpoint) {
                    reason = format!("{} leads to another etcd cluster, {found:x}", endpoint.endpoint.url);
                    continue;
                }
                let (connector, guard) = self.member(&endpoint).connector(class, &self.shard);
                match tokio::time::timeout_at(deadline, connector.ready()).await {
                    Ok(Ok(handle)) => return Ok(Ready { handle, endpoint, guard }),
                    Ok(Err(error)) => {
                        endpoint.set_healthy(false);
                        reason = format!("{}: {error}", endpoint.endpoint.url);
                    }
                    Err(_) => {
                        return Err(UpstreamError::Unreachable { shard: self.shard.name.clone(), reason });
                    }
                }
            }
            if tokio::time::timeout_at(deadline, tokio::time::sleep(backoff)).await.is_err() {
                return Err(UpstreamError::Unreachable { shard: self.shard.name.clone(), reason });
            }
            backoff = (backoff * 2).min(Duration::from_millis(200));
        }
    }

    fn member(&self, endpoint: &Arc<EndpointState>) -> Arc<Member> {
        let mut members = self.members.lock();
        if let Some(found) = members.iter().find(|m| Arc::ptr_eq(&m.endpoint, endpoint)) {
            return found.clone();
        }
        let configured = self.shard.endpoints();
        members.retain(|m| configured.iter().any(|e| Arc::ptr_eq(e, &m.endpoint)));
        let made = Arc::new(Member { endpoint: endpoint.clone(), connectors: Default::default() });
        members.push(made.clone());
        made
    }
}

pub(crate) fn request(
    endpoint: &EndpointState,
    path: &http::uri::PathAndQuery,
    metadata: &HeaderMap,
    body: RequestBody,
) -> Request<RequestBody> {
    let scheme = if endpoint.is_tls() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(endpoint.authority.clone());
    parts.path_and_query = Some(path.clone());
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    // All three parts are set, which is the one thing that could fail.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    let headers = request.headers_mut();
    *headers = metadata.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}
