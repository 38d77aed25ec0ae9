//! Which address everything gets: a pure function of the listen address and the number of proxies.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::PlaygroundError;

/// Most proxies that one playground runs: their ports stay well below the first shard's.
pub const MAX_PROXIES: usize = 16;

/// The shards and the key prefixes that each owns; the last one owns the rest.
const HOME: &str = "rest";
const SHARDS: [(&str, &[&str]); 4] = [
    ("events", &["/registry/events/"]),
    ("leases", &["/registry/leases/"]),
    ("pods", &["/registry/pods/"]),
    (HOME, &[]),
];

const SHARD_STEP: u16 = 10_000;
const PROXY_STEP: u16 = 100;
const ADMIN_OFFSET: u16 = 10;
/// Highest listen port that leaves room for the last shard's peer port.
pub(crate) const MAX_LISTEN_PORT: u16 = u16::MAX - 4 * SHARD_STEP - 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) shards: Vec<Shard>,
    pub(crate) proxies: Vec<Proxy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) name: &'static str,
    /// Empty for the default route.
    pub(crate) prefixes: &'static [&'static str],
    /// Where the route of the same name lives.
    pub(crate) route_on: &'static str,
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) client: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where clients on this machine reach `client`.
    pub(crate) url: String,
}

// === impl Layout ===

impl Layout {
    /// `unsplit`: every route lives on the last shard.
    pub(crate) fn new(listen: SocketAddr, proxies: usize, unsplit: bool) -> Result<Self, PlaygroundError> {
        if proxies == 0 || proxies > MAX_PROXIES {
            return Err(PlaygroundError::Proxies { proxies });
        }
        if listen.port() == 0 || listen.port() > MAX_LISTEN_PORT {
            return Err(PlaygroundError::ListenPort { port: listen.port() });
        }
        let local = if listen.ip().is_loopback() { listen.ip() } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let shards = (1..)
            .zip(SHARDS)
            .map(|(number, (name, prefixes))| {
                let client = SocketAddr::new(local, listen.port() + number * SHARD_STEP);
                let route_on = if unsplit { HOME } else { name };
                let peer = SocketAddr::new(local, client.port() + 1);
                Shard { name, prefixes, route_on, client, peer }
            })
            .collect();
        let proxies = (0..)
            .take(proxies)
            .map(|index: u16| {
                let client = SocketAddr::new(listen.ip(), listen.port() + index * PROXY_STEP);
                let admin = SocketAddr::new(local, client.port() + ADMIN_OFFSET);
                Proxy { name: format!("prism-{}", index + 1), client, admin, url: url(reachable(client)) }
            })
            .collect();
        Ok(Self { shards, proxies })
    }

    /// Every address that something here will listen on, with what it is for.
    pub(crate) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let proxies = self.proxies.iter().flat_map(|proxy| {
            [
                (format!("{} for clients", proxy.name), proxy.client),
                (format!("{} for admin", proxy.name), proxy.admin),
            ]
        });
        let shards = self.shards.iter().flat_map(|shard| {
            [
                (format!("shard {} for clients", shard.name), shard.client),
                (format!("shard {} for peers", shard.name), shard.peer),
            ]
        });
        proxies.chain(shards).collect()
    }

    /// The proxies' client URLs, as `--endpoints` and `--etcd-servers` take them.
    pub(crate) fn endpoints(&self) -> String {
        self.proxies.iter().map(|proxy| proxy.url.as_str()).collect::<Vec<_>>().join(",")
    }
}

pub(crate) fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Nobody can connect to "every address".
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
