//! A small JSON client of the Kubernetes API, over one HTTP/2 connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::credentials::{Credentials, TOKEN, server_name};
use super::watch::Watch;

/// The API server's own bound is 60 s.
const TIMEOUT: Duration = Duration::from_secs(70);

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("no answer: {0}")]
    Transport(String),
    #[error("{code} {reason}: {message}")]
    Status { code: u16, reason: String, message: String },
}

impl ApiError {
    /// The HTTP status, where there was an answer.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Transport(_) => None,
            Self::Status { code, .. } => Some(*code),
        }
    }

    fn transport(error: impl fmt::Display) -> Self {
        Self::Transport(error.to_string())
    }
}

/// How a patch is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    Merge,
    /// Server-side apply, as the field manager `etcd-prism-tests`.
    Apply,
}

/// One client. Clones share its connection, which is dialled when it is needed.
#[derive(Clone)]
pub struct Api {
    address: String,
    tls: Arc<ClientConfig>,
    connection: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Api {
    /// `address` is `127.0.0.1:PORT`.
    pub fn new(address: &str, credentials: &Credentials) -> Self {
        Self { address: address.to_owned(), tls: credentials.client_tls(), connection: Arc::default() }
    }

    /// The same server on a connection of its own.
    pub fn another(&self) -> Self {
        Self { connection: Arc::default(), ..self.clone() }
    }

    /// The body of `GET path`, as text.
    pub async fn text(&self, path: &str) -> Result<String, ApiError> {
        self.call(Method::GET, path, None).await
    }

    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.json(Method::GET, path, None).await
    }

    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.json(Method::POST, path, Some(("application/json", object))).await
    }

    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value, ApiError> {
        self.json(Method::PUT, path, Some(("application/json", object))).await
    }

    pub async fn patch(&self, path: &str, kind: Patch, body: &Value) -> Result<Value, ApiError> {
        match kind {
            Patch::Merge => {
                self.json(Method::PATCH, path, Some(("application/merge-patch+json", body))).await
            }
            Patch::Apply => {
                let path = format!("{path}?fieldManager=etcd-prism-tests&force=true");
                // Every JSON text is YAML.
                self.json(Method::PATCH, &path, Some(("application/apply-patch+yaml", body))).await
            }
        }
    }

    pub async fn delete(&self, path: &str) -> Result<Value, ApiError> {
        self.json(Method::DELETE, path, None).await
    }

    /// Opens a watch; `path` has its query but for `watch=true`.
    pub async fn watch(&self, path: &str) -> Result<Watch, ApiError> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let response = self.send(Method::GET, &format!("{path}{separator}watch=true"), None).await?;
        Ok(Watch::new(response.into_body()))
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, ApiError> {
        let text = self.call(method, path, body).await?;
        serde_json::from_str(&text)
            .map_err(|error| ApiError::Transport(format!("{path} answered no JSON: {error}")))
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<String, ApiError> {
        let whole = async { read(self.send(method, path, body).await?).await };
        timeout(TIMEOUT, whole)
            .await
            .map_err(|_| ApiError::Transport(format!("nothing within {TIMEOUT:?}")))?
    }

    /// A response with a successful status.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Response<Incoming>, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.address))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("accept", "application/json");
        let mut bytes = Bytes::new();
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type);
            bytes = body.to_string().into();
        }
        let request = request.body(Full::new(bytes)).map_err(ApiError::transport)?;
        let mut connection = self.connect().await?;
        let response = timeout(TIMEOUT, connection.send_request(request)).await;
        let response = response.map_err(|_| ApiError::Transport(format!("no answer within {TIMEOUT:?}")))?;
        let response = response.map_err(ApiError::transport)?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        let mut shared = self.connection.lock().await;
        if let Some(connection) = shared.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let stream = TcpStream::connect(&self.address).await.map_err(ApiError::transport)?;
        stream.set_nodelay(true).map_err(ApiError::transport)?;
        let tls = TlsConnector::from(self.tls.clone()).connect(server_name(), stream).await;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake(TokioIo::new(tls.map_err(ApiError::transport)?))
            .await
            .map_err(ApiError::transport)?;
        // Its requests fail when it does.
        tokio::spawn(connection);
        *shared = Some(sender.clone());
        Ok(sender)
    }
}

async fn read(response: Response<Incoming>) -> Result<String, ApiError> {
    let body = response.into_body().collect().await.map_err(ApiError::transport)?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

async fn refusal(response: Response<Incoming>) -> ApiError {
    let code = response.status().as_u16();
    let text = read(response).await.unwrap_or_default();
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| status[name].as_str().map(str::to_owned);
    ApiError::Status {
        code,
        reason: field("reason").unwrap_or_default(),
        message: field("message").unwrap_or(text),
    }
}
