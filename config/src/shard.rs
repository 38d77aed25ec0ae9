//! Reads one `[[shard]]`.

use std::time::Duration;

use rustls_pki_types::ServerName;
use toml::de::DeValue;

use crate::config::{ClientTls, Shard};
use crate::endpoint::{Endpoint, Scheme};
use crate::errors::Problems;
use crate::listen::repeated;
use crate::reader::{Located, Mistake, Reader};
use crate::value;

#[cfg(test)]
mod tests;

const MINUTE: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);
/// etcd drops a peer that pings more often than its `--grpc-keepalive-min-time` of 5 s; twice that leaves room for jitter.
const MIN_KEEPALIVE: Duration = Duration::from_secs(10);

/// A `[[shard]]` as far as it could be read.
pub(crate) struct Draft {
    /// `None` when a mistake was noted.
    pub(crate) shard: Option<Shard>,
    /// Also when malformed.
    pub(crate) name: Option<Located<String>>,
    pub(crate) endpoints: Vec<Located<Endpoint>>,
}

pub(crate) fn read(mut reader: Reader<'_>, problems: &mut Problems) -> Draft {
    let name = reader.required(problems, "name", "write name = \"pods\" or the like", value::string);
    if let Some(name) = &name
        && let Some(mistake) = value::name_mistake(&name.value)
    {
        problems.wrong(name.span.clone(), mistake.message, mistake.help);
    }
    let endpoints = endpoints(&mut reader, problems);
    let has_tls = reader.has("tls");
    let tls = reader.table(problems, "tls", "[shard.tls]").and_then(|table| read_tls(table, problems));
    check_scheme(problems, &endpoints, has_tls);
    let username = reader.optional(problems, "username", value::line);
    let password_file = reader.optional(problems, "password_file", value::path);
    check_credentials(&reader, problems, username.as_ref(), password_file.as_ref());

    let positive = || value::duration(MILLISECOND..=10 * MINUTE);
    let request_timeout = reader.or(problems, "request_timeout", Duration::from_secs(7), positive());
    let max_in_flight = reader.or(problems, "max_in_flight", 4096, value::count(1..=1_000_000));
    let connect_timeout = reader.or(problems, "connect_timeout", Duration::from_secs(2), positive());
    let keepalive = value::duration(MIN_KEEPALIVE..=10 * MINUTE);
    let keepalive_interval = reader.or(problems, "keepalive_interval", MIN_KEEPALIVE, keepalive);
    let allow_unsupported_version = reader.or(problems, "allow_unsupported_version", false, value::boolean);
    reader.finish(problems);

    let shard = name.clone().filter(|_| tls.is_some() == has_tls).map(|name| Shard {
        name: name.value,
        endpoints: endpoints.iter().map(|endpoint| endpoint.value.clone()).collect(),
        tls,
        username: username.map(|found| found.value),
        password_file: password_file.map(|found| found.value),
        request_timeout,
        max_in_flight,
        connect_timeout,
        keepalive_interval,
        allow_unsupported_version,
    });
    Draft { shard, name, endpoints }
}

fn endpoints(reader: &mut Reader<'_>, problems: &mut Problems) -> Vec<Located<Endpoint>> {
    let example = "write endpoints = [\"http://10.0.0.1:2379\"], the client URLs of the cluster's members";
    reader.present(problems, "endpoints", example);
    let Some(list) = reader.list(problems, "endpoints", example, value::endpoint) else { return Vec::new() };
    repeated(problems, "endpoints", &list.value, |endpoint| endpoint.url.clone());
    list.value
}

/// TLS is where the URLs say so, on all members alike, and never with roots that nobody named.
fn check_scheme(problems: &mut Problems, endpoints: &[Located<Endpoint>], has_tls: bool) {
    let of = |scheme| endpoints.iter().find(move |endpoint| endpoint.value.scheme == scheme);
    match (of(Scheme::Http), of(Scheme::Https)) {
        (Some(http), Some(https)) => problems.clash(
            http.span.clone(),
            "endpoints: http and https in one shard",
            "use one scheme for all members",
            (https.span.clone(), "https here"),
        ),
        (Some(http), None) if has_tls => problems.wrong(
            http.span.clone(),
            "endpoints: an http URL, but the shard has a [shard.tls]",
            "write https://, or take [shard.tls] out",
        ),
        (None, Some(https)) if !has_tls => problems.absent(
            https.span.clone(),
            "endpoints: an https URL, but nothing says which CA to trust (the system's roots are not used)",
            "add [shard.tls] with ca = \"ca.crt\" below this shard",
        ),
        _ => {}
    }
}

fn check_credentials<A, B>(
    reader: &Reader<'_>,
    problems: &mut Problems,
    username: Option<&Located<A>>,
    password_file: Option<&Located<B>>,
) {
    if let Some(username) = username.filter(|_| !reader.has("password_file")) {
        let help = "add password_file = \"…\", a file that holds the password";
        problems.absent(username.span.clone(), "username without password_file", help);
    }
    if let Some(file) = password_file.filter(|_| !reader.has("username")) {
        problems.absent(
            file.span.clone(),
            "password_file without username",
            "add username = \"…\", the etcd user",
        );
    }
}

fn read_tls(mut reader: Reader<'_>, problems: &mut Problems) -> Option<ClientTls> {
    let ca_help =
        "write ca = \"ca.crt\", the CA of the shard's certificates (the system's roots are not used)";
    let ca = reader.required(problems, "ca", ca_help, value::path);
    let cert = reader.optional(problems, "cert", value::path);
    let key = reader.optional(problems, "key", value::path);
    if let Some(cert) = cert.as_ref().filter(|_| !reader.has("key")) {
        problems.absent(cert.span.clone(), "cert without key", "add key = \"client.key\", its private key");
    }
    if let Some(key) = key.as_ref().filter(|_| !reader.has("cert")) {
        problems.absent(key.span.clone(), "key without cert", "add cert = \"client.crt\", its certificate");
    }
    let server_name = reader.optional(problems, "server_name", server_name);
    reader.finish(problems);
    Some(ClientTls {
        ca: ca?.value,
        cert: cert.map(|found| found.value),
        key: key.map(|found| found.value),
        server_name: server_name.map(|found| found.value),
    })
}

fn server_name(value: &DeValue<'_>) -> Result<String, Mistake> {
    let name = value::line(value)?;
    match ServerName::try_from(name.as_str()) {
        Ok(_) => Ok(name),
        Err(_) => Err(Mistake::new(
            "neither a DNS name nor an IP address",
            "write the name in the shard's certificate, such as \"etcd.example.com\"",
        )),
    }
}
