//! Other ways to an endpoint than a TCP connection of the system's.

use std::io;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection made by a [`Dial`].
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Makes the connections to an endpoint in the system's stead: a simulated network does. TLS and HTTP/2 are spoken over
/// what it returns, within the endpoint's bound for connecting.
pub trait Dial: std::fmt::Debug + Send + Sync {
    /// # Errors
    /// There is no connection; the endpoint counts as away.
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}
