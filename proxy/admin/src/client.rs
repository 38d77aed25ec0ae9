//! Asks a proxy for its status.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::report::StatusReport;

/// Longest wait for the whole answer, which is made without asking any shard.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer accepted, in bytes.
const MAX_REPORT: usize = 64 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "cannot connect to the admin address {address} ({reason}); is etcd-prism running there? (--admin names another)"
    )]
    Connect { address: String, reason: std::io::Error },
    #[error("{address} did not answer within {} s", PATIENCE.as_secs())]
    Slow { address: String },
    #[error("{address} answered {status}; is that the admin address of etcd-prism?")]
    Refused { address: String, status: StatusCode },
    #[error("{address}: {reason}")]
    Broken { address: String, reason: String },
}

/// The status of the proxy whose admin listener is at `admin`: `host:port`, or `http://host:port`.
///
/// # Errors
/// When nothing listens there, or what does is not a proxy of a similar version.
pub async fn fetch(admin: &str) -> Result<StatusReport, FetchError> {
    let address = admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/');
    let slow = |_| FetchError::Slow { address: address.to_owned() };
    let body = tokio::time::timeout(PATIENCE, get(address, "/status")).await.map_err(slow)??;
    serde_json::from_slice(&body).map_err(|e| FetchError::Broken {
        address: address.to_owned(),
        reason: format!("not a status report: {e}"),
    })
}

async fn get(address: &str, path: &str) -> Result<Bytes, FetchError> {
    let broken = |reason: &dyn std::fmt::Display| FetchError::Broken {
        address: address.to_owned(),
        reason: reason.to_string(),
    };
    let stream = TcpStream::connect(address)
        .await
        .map_err(|reason| FetchError::Connect { address: address.to_owned(), reason })?;
    let (mut requests, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    let exchange = async {
        let request = Request::get(path)
            .header(header::HOST, address)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|e| broken(&e))?;
        let response = requests.send_request(request).await.map_err(|e| broken(&e))?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Refused { address: address.to_owned(), status: response.status() });
        }
        let body = Limited::new(response.into_body(), MAX_REPORT).collect().await.map_err(|e| broken(&e))?;
        Ok(body.to_bytes())
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end in the same moment as the answer that it carried.
        _ = connection => exchange.await,
    }
}
