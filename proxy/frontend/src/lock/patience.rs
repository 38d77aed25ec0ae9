//! How long a client waits.

use std::time::Duration;

use etcd_prism_wire::{Code, Status};
use http::HeaderMap;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::SERVER_STOPPED;

/// Until when a request may wait for its turn.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    /// The client's deadline; its own clock decides, this one serves clients that only wait.
    deadline: Option<Instant>,
    draining: tokio_util::sync::CancellationToken,
}

impl Patience {
    /// From now on.
    pub(super) fn of(cx: &Context) -> Self {
        let deadline = timeout(&cx.headers).and_then(|t| Instant::now().checked_add(t));
        Self { deadline, draining: cx.gateway().draining.clone() }
    }

    /// Waits until it is over. What the client is told then.
    pub(super) async fn over(&self) -> Status {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = deadline => Status::new(Code::DeadlineExceeded, "context deadline exceeded"),
            () = self.draining.cancelled() => Status::new(Code::Unavailable, SERVER_STOPPED),
        }
    }
}

/// `grpc-timeout`: at most eight digits and a unit. What is not one is no deadline.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn timeouts_as_grpc_writes_them() {
        for (text, expected) in [
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("1S", Some(Duration::from_secs(1))),
            ("1500m", Some(Duration::from_millis(1500))),
            ("7u", Some(Duration::from_micros(7))),
            ("8n", Some(Duration::from_nanos(8))),
            ("S", None),
            ("", None),
            ("123456789S", None),
            ("-1S", None),
            ("1s", None),
        ] {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_static(text),
            )]);
            assert_eq!(timeout(&headers), expected, "{text:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
