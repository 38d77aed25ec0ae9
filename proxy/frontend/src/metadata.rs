//! Which request headers go to the shard.

use http::header::{HeaderMap, HeaderName};

/// Everything a shard needs to behave as if the client had called it: the deadline, whether a leader is required, the
/// client's API version and its trace context. Credentials do not travel: the shard knows the proxy, not its clients.
/// `grpc-encoding` and `grpc-accept-encoding` do not travel either: replies must come uncompressed.
const FORWARDED: [HeaderName; 7] = [
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("hasleader"),
    HeaderName::from_static("client-api-version"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("grpc-trace-bin"),
];

/// The request metadata that names a shard, for methods that concern one cluster only.
pub const SHARD: HeaderName = HeaderName::from_static("prism-shard");

/// The headers to send upstream.
pub fn upstream(headers: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(FORWARDED.len() + 3);
    for name in &FORWARDED {
        if let Some(value) = headers.get(name) {
            out.insert(name, value.clone());
        }
    }
    out
}

/// Whether the client wants its stream ended when the shard has no leader.
pub fn requires_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|v| v == "true")
}

/// etcd refuses a `client-api-version` that is not text.
pub fn has_valid_version(headers: &HeaderMap) -> bool {
    headers.get("client-api-version").is_none_or(|v| std::str::from_utf8(v.as_bytes()).is_ok())
}

/// The encoding of the request's messages, if it is one: the proxy never looks inside compressed frames.
pub fn unknown_encoding(headers: &HeaderMap) -> Option<std::borrow::Cow<'_, str>> {
    let encoding = headers.get("grpc-encoding")?.as_bytes();
    (!matches!(encoding, b"" | b"identity")).then(|| String::from_utf8_lossy(encoding))
}
