//! Waiting until an HTTP endpoint says that it is well.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

const ATTEMPT_EVERY: Duration = Duration::from_millis(50);
const ATTEMPT_WITHIN: Duration = Duration::from_secs(2);

/// Resolves when `GET path` at `address` has been answered with a 2xx status; after `within`, fails with the reason
/// of the last attempt.
pub(crate) async fn until_well(address: SocketAddr, path: &str, within: Duration) -> Result<(), String> {
    let deadline = Instant::now() + within;
    let mut attempts = interval(ATTEMPT_EVERY);
    attempts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reason = "no answer".to_owned();
    while timeout_at(deadline, attempts.tick()).await.is_ok() {
        match timeout(ATTEMPT_WITHIN, get(address, path)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => reason = error.to_string(),
            Err(_elapsed) => reason = format!("no answer for {} s", ATTEMPT_WITHIN.as_secs()),
        }
    }
    Err(reason)
}

async fn get(address: SocketAddr, path: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with `requests`; its errors reach the caller as those of the request.
    tokio::spawn(connection);
    let request = Request::get(path).header(header::HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let status = requests.send_request(request).await?.status();
    if status.is_success() { Ok(()) } else { Err(format!("HTTP status {status}").into()) }
}
