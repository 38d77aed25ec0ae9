//! Which clients may connect, beyond having a certificate of the right CA.

use std::net::IpAddr;

use crate::names::PeerNames;

#[cfg(test)]
mod tests;

/// A list of names, one of which a client's certificate must carry. The empty list permits everyone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedNames {
    names: Vec<Name>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// Equal to a common name, DNS name, URI or IP address.
    Exact(String, Option<IpAddr>),
    /// `*.` and this: a DNS name of exactly one label more.
    Under(String),
}

impl AllowedNames {
    /// Each name is exact, or `*.` and the rest of a DNS name.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Self {
        let name = |text: &str| match text.strip_prefix("*.") {
            Some(parent) => Name::Under(parent.to_owned()),
            None => Name::Exact(text.to_owned(), text.parse().ok()),
        };
        Self { names: names.iter().map(|text| name(text.as_ref())).collect() }
    }

    /// Whether the list is empty.
    pub fn is_everyone(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a client with these names may connect.
    pub fn permits(&self, peer: &PeerNames) -> bool {
        self.is_everyone() || self.names.iter().any(|name| name.matches(peer))
    }
}

impl Name {
    /// DNS names compare without case; all others exactly.
    fn matches(&self, peer: &PeerNames) -> bool {
        match self {
            Self::Exact(name, ip) => {
                peer.common_name.as_ref() == Some(name)
                    || peer.dns.iter().any(|dns| dns.eq_ignore_ascii_case(name))
                    || peer.uris.contains(name)
                    || ip.is_some_and(|ip| peer.ips.contains(&ip))
            }
            Self::Under(parent) => peer.dns.iter().any(|dns| {
                dns.split_once('.')
                    .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
            }),
        }
    }
}
