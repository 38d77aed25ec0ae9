//! URLs of the form `scheme://host:port`, as etcd's client URLs are.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::uri::{Authority, Uri};
use rustls_pki_types::ServerName;

#[cfg(test)]
mod tests;

/// Plaintext or TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plaintext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One address of a server. Two endpoints are equal when their [`url`](Self::url) is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Plaintext or TLS.
    pub scheme: Scheme,
    /// A DNS name in lower case or an IP address; IPv6 without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// `scheme://host:port` and nothing else.
    pub url: String,
}

/// Why a text is no endpoint. Never quotes the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No scheme, or one that is neither `http` nor `https`.
    #[error("an endpoint begins with http:// or https://")]
    Scheme,
    /// A user or a password in front of the host.
    #[error("an endpoint holds no user or password")]
    UserInfo,
    /// No port, port 0, or one above 65535.
    #[error("an endpoint ends in a port from 1 to 65535")]
    Port,
    /// A path, query or fragment behind the port.
    #[error("an endpoint has nothing behind its port")]
    Path,
    /// Not a DNS name or IP address.
    #[error("the host is neither a DNS name nor an IP address")]
    Host,
}

// === impl Endpoint ===

impl Endpoint {
    /// The endpoint that reaches a listener on `address`.
    pub fn from_address(scheme: Scheme, address: SocketAddr) -> Self {
        Self::assemble(scheme, address.ip().to_string(), address.port())
    }

    /// Whether a connection to `self` may end at the same server as one to `other`, as far as the texts tell.
    pub(crate) fn same_server(&self, other: &Self) -> bool {
        self.port == other.port && self.dialled() == other.dialled()
    }

    /// The host with every spelling of loopback made one.
    fn dialled(&self) -> &str {
        match self.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => "localhost",
            _ => &self.host,
        }
    }

    fn assemble(scheme: Scheme, host: String, port: u16) -> Self {
        let name = scheme.as_str();
        let url = if host.contains(':') {
            format!("{name}://[{host}]:{port}")
        } else {
            format!("{name}://{host}:{port}")
        };
        Self { scheme, host, port, url }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else {
            return Err(EndpointError::Scheme);
        };
        if rest.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(EndpointError::Path);
        }
        let (host, port) = rest.rsplit_once(':').ok_or(EndpointError::Port)?;
        let port = match port.parse::<u16>() {
            Ok(port) if port > 0 && !rest.ends_with(']') => port,
            _ => return Err(EndpointError::Port),
        };
        let host = bare_host(host).ok_or(EndpointError::Host)?;
        let endpoint = Self::assemble(scheme, host, port);
        // Whatever the host check lets through must also be dialable as an HTTP authority.
        if endpoint.url.parse::<Uri>().is_err() {
            return Err(EndpointError::Host);
        }
        Ok(endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn bare_host(host: &str) -> Option<String> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|ip| ip.to_string());
    }
    if host.contains(':') || host.parse::<Authority>().is_err() {
        return None;
    }
    ServerName::try_from(host).ok().map(|_| host.to_ascii_lowercase())
}
