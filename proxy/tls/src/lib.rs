//! TLS towards clients and shards: PEM files in, `rustls` configurations out, renewed when the files change.
//!
//! A connection keeps the configuration that it was made with; [`Reloading::current`] is what the next handshake uses. The
//! crypto provider is always ring and always given explicitly, so that no other crate can change it for the process.
//! Sessions are never resumed, on either side: a resumed session would skip the checks of the peer's certificate.

#![deny(missing_docs)]

mod allowed;
mod client;
mod error;
mod names;
mod pem;
mod reload;
mod server;
mod verifier;

#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use allowed::AllowedNames;
pub use error::TlsError;
pub use names::{PeerNames, peer_names};
pub use reload::{POLL_INTERVAL, Reloading, ReloadingClientConfig, ReloadingServerConfig};

/// The ALPN name of HTTP/2, as a connection reports it.
pub const ALPN_H2: &[u8] = b"h2";

/// The ALPN name of HTTP/1.1.
pub const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The one crypto provider of this workspace.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
