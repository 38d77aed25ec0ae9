//! Free loopback ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::BenchError;

/// Below the range from which Linux takes ports for outgoing connections, so that none is taken before its server starts.
const RANGE: std::ops::Range<u16> = 12_000..20_000;
const ATTEMPTS: usize = 1_000;

/// A loopback address that nobody listens on.
pub(crate) fn free() -> Result<SocketAddr, BenchError> {
    let attempts = (0..ATTEMPTS).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(RANGE))));
    attempts.into_iter().find(|address| TcpListener::bind(address).is_ok()).ok_or(BenchError::Missing {
        name: "free port",
        hint: "none of 127.0.0.1:12000-19999 can be listened on",
    })
}
