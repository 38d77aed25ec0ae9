//! Reads `[listen]`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{DEFAULT_ADMIN, Listen, ServerTls};
use crate::endpoint::{Endpoint, Scheme};
use crate::errors::Problems;
use crate::reader::{Located, Mistake, Reader};
use crate::value;

#[cfg(test)]
mod tests;

const HOUR: Duration = Duration::from_secs(3600);
const CLIENT_LINE: &str = "write client = \"127.0.0.1:2379\", where clients such as kube-apiserver connect";

/// `[listen]` as far as it could be read.
#[derive(Default)]
pub(crate) struct Draft {
    /// `None` when a mistake was noted.
    pub(crate) listen: Option<Listen>,
    /// Where this proxy is reached: its client address and what it advertises.
    pub(crate) own: Vec<Endpoint>,
}

pub(crate) fn read(mut reader: Reader<'_>, problems: &mut Problems) -> Draft {
    let client = reader.required(problems, "client", CLIENT_LINE, value::address);
    let admin = reader.or(problems, "admin", DEFAULT_ADMIN, value::address);
    let has_tls = reader.has("tls");
    let tls = reader.table(problems, "tls", "[listen.tls]").and_then(|table| read_tls(table, problems));
    let scheme = if has_tls { Scheme::Https } else { Scheme::Http };
    let advertise = advertise(&mut reader, problems, client.as_ref(), scheme);

    let max_connections = reader.or(problems, "max_connections", 10_000, value::count(1..=1_000_000));
    let max_concurrent_streams =
        reader.or(problems, "max_concurrent_streams", 65_536, value::count(100..=1 << 30));
    let max_request_bytes = reader.or(problems, "max_request_bytes", 1_572_864, value::count(1024..=1 << 30));
    let max_txn_ops = reader.or(problems, "max_txn_ops", 128, value::count(1..=65_536));
    let workers = reader.optional(problems, "workers", value::count(1..=1024)).map(|found| found.value);
    let work_stealing = reader.or(problems, "work_stealing", false, value::boolean);
    let drain = value::duration(Duration::ZERO..=HOUR);
    let drain_timeout = reader.or(problems, "drain_timeout", Duration::from_secs(10), drain);
    reader.finish(problems);

    let Some(client) = client else { return Draft::default() };
    if collide(client.value, admin) {
        problems.wrong(
            client.span,
            format!("client and admin are both {}", client.value),
            format!("give them different ports; admin is {DEFAULT_ADMIN} unless set"),
        );
    }
    let mut own = advertise.clone().unwrap_or_default();
    own.push(Endpoint::from_address(scheme, client.value));
    let advertise = advertise.map(|urls| urls.into_iter().map(|endpoint| endpoint.url).collect());
    let listen = advertise.filter(|_| tls.is_some() == has_tls).map(|advertise| Listen {
        client: client.value,
        admin,
        advertise,
        tls,
        max_connections,
        max_concurrent_streams,
        max_request_bytes,
        max_txn_ops,
        workers,
        work_stealing,
        drain_timeout,
    });
    Draft { listen, own }
}

fn advertise(
    reader: &mut Reader<'_>,
    problems: &mut Problems,
    client: Option<&Located<SocketAddr>>,
    scheme: Scheme,
) -> Option<Vec<Endpoint>> {
    let given = reader.has("advertise");
    let list =
        reader.list(problems, "advertise", "list at least one URL, or leave the key out", value::endpoint);
    if !given {
        return default_advertise(problems, client?, scheme).map(|endpoint| vec![endpoint]);
    }
    let list = list?;
    for endpoint in &list.value {
        if scheme == Scheme::Https && endpoint.value.scheme == Scheme::Http {
            problems.wrong(
                endpoint.span.clone(),
                "advertise: an http URL, but [listen.tls] makes the client port TLS",
                "write https://",
            );
        }
    }
    repeated(problems, "advertise", &list.value, |endpoint| endpoint.url.clone());
    Some(list.value.into_iter().map(|endpoint| endpoint.value).collect())
}

/// The client address, unless nobody could connect to it as it stands.
fn default_advertise(
    problems: &mut Problems,
    client: &Located<SocketAddr>,
    scheme: Scheme,
) -> Option<Endpoint> {
    if client.value.ip().is_unspecified() || client.value.port() == 0 {
        problems.absent(
            client.span.clone(),
            format!("[listen] lacks advertise, and {} is no address to connect to", client.value),
            format!("add advertise = [\"{}://this-host.example.com:2379\"]", scheme.as_str()),
        );
        return None;
    }
    Some(Endpoint::from_address(scheme, client.value))
}

/// Notes every element that came before.
pub(crate) fn repeated<T, K: PartialEq>(
    problems: &mut Problems,
    key: &str,
    list: &[Located<T>],
    same: impl Fn(&T) -> K,
) {
    for (i, element) in list.iter().enumerate() {
        let earlier = list[..i].iter().find(|earlier| same(&earlier.value) == same(&element.value));
        if let Some(earlier) = earlier {
            problems.clash(
                element.span.clone(),
                format!("{key}: listed twice"),
                "take one of them out",
                (earlier.span.clone(), "first here"),
            );
        }
    }
}

fn read_tls(mut reader: Reader<'_>, problems: &mut Problems) -> Option<ServerTls> {
    let cert =
        reader.required(problems, "cert", "write cert = \"server.crt\", the certificate chain", value::path);
    let key = reader.required(problems, "key", "write key = \"server.key\", the private key", value::path);
    let has_client_ca = reader.has("client_ca");
    let client_ca = reader.optional(problems, "client_ca", value::path).map(|found| found.value);
    let allowed_names =
        reader.list(problems, "allowed_names", "list at least one name, or leave the key out", allowed_name);
    if let Some(names) = allowed_names.as_ref().filter(|_| !has_client_ca) {
        problems.absent(
            names.span.clone(),
            "allowed_names without client_ca: no client would be asked for a certificate",
            "add client_ca = \"ca.crt\", the CA that signs client certificates",
        );
    }
    reader.finish(problems);
    let allowed_names = allowed_names.map(|names| names.value.into_iter().map(|name| name.value).collect());
    Some(ServerTls {
        cert: cert?.value,
        key: key?.value,
        client_ca,
        allowed_names: allowed_names.unwrap_or_default(),
    })
}

/// A name that a client certificate must carry: exact, or with `*.` in front for one DNS label.
fn allowed_name(value: &toml::de::DeValue<'_>) -> Result<String, Mistake> {
    let name = value::line(value)?;
    let rest = name.strip_prefix("*.").unwrap_or(&name);
    if rest.is_empty() || rest.contains('*') {
        return Err(Mistake::new(
            "a * stands only for the whole first label",
            "write a name such as \"apiserver.example.com\", or \"*.example.com\"",
        ));
    }
    Ok(name)
}

/// Whether two listeners cannot both be bound.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && overlap
}
