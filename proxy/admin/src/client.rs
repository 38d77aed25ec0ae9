//! Asks a proxy for its status.

use std::time::Duration;

use bytes::Bytes;
use etcd_prism_migration::Status;
use etcd_prism_migration::verbs::{Reply, Verb};
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::report::StatusReport;

/// Longest wait for the whole answer, which is made without asking any shard.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a verb: the end of a migration deletes what was copied.
const VERB: Duration = Duration::from_secs(1200);
/// Longest answer accepted, in bytes.
const MAX_REPORT: usize = 64 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(
        "cannot connect to the admin address {address} ({reason}); is etcd-prism running there? (--admin names another)"
    )]
    Connect { address: String, reason: std::io::Error },
    #[error("{address} did not answer within {} s", patience.as_secs())]
    Slow { address: String, patience: Duration },
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
    let body = ask(admin, "/status", None, PATIENCE).await?;
    read(admin, &body, "a status report")
}

/// The migrations that the proxy at `admin` knows of.
///
/// # Errors
/// As [`fetch`].
pub async fn migrations(admin: &str) -> Result<Vec<Status>, FetchError> {
    let body = ask(admin, "/migrations", None, PATIENCE).await?;
    read(admin, &body, "a list of migrations")
}

/// Has the proxy at `admin` do something with a route, and waits for the outcome.
///
/// # Errors
/// As [`fetch`]. That it could not be done is a [`Reply`].
pub async fn migrate(admin: &str, route: &str, verb: &Verb) -> Result<Reply, FetchError> {
    let broken = |reason: &dyn std::fmt::Display| FetchError::Broken {
        address: address(admin).to_owned(),
        reason: reason.to_string(),
    };
    // Names of routes are words; whatever else is asked for must not become another path.
    if route.is_empty() || route.bytes().any(|b| !b.is_ascii_graphic() || b"/?#%".contains(&b)) {
        return Err(broken(&format_args!("{route:?} is not the name of a route")));
    }
    let verb = serde_json::to_vec(verb).map_err(|e| broken(&e))?;
    let body = ask(admin, &format!("/migrations/{route}"), Some(verb.into()), VERB).await?;
    read(admin, &body, "an answer about a migration")
}

fn address(admin: &str) -> &str {
    admin.strip_prefix("http://").unwrap_or(admin).trim_end_matches('/')
}

fn read<T: serde::de::DeserializeOwned>(admin: &str, body: &[u8], what: &str) -> Result<T, FetchError> {
    serde_json::from_slice(body).map_err(|e| FetchError::Broken {
        address: address(admin).to_owned(),
        reason: format!("not {what}: {e}"),
    })
}

/// `body`: it is posted, as JSON.
async fn ask(admin: &str, path: &str, body: Option<Bytes>, patience: Duration) -> Result<Bytes, FetchError> {
    let address = address(admin);
    let slow = |_| FetchError::Slow { address: address.to_owned(), patience };
    tokio::time::timeout(patience, exchange(address, path, body)).await.map_err(slow)?
}

async fn exchange(address: &str, path: &str, body: Option<Bytes>) -> Result<Bytes, FetchError> {
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
        let posted = body.is_some();
        let request = if posted { Request::post(path) } else { Request::get(path) };
        let request = request
            .header(header::HOST, address)
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|e| broken(&e))?;
        let response = requests.send_request(request).await.map_err(|e| broken(&e))?;
        // A verb that was refused has a body that says why.
        let is_answer =
            response.status() == StatusCode::OK || posted && response.status() == StatusCode::CONFLICT;
        if !is_answer {
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
