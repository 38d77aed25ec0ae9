//! Plain HTTP on the client port, in the shapes of etcd's own handlers (`server/etcdserver/api/etcdhttp`). Everything is
//! answered from what the health check last saw.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;

use crate::body::ResponseBody;
use crate::gateway::{Gateway, Worker};
use crate::view;

mod probe;
mod query;
mod versions;

const TEXT: &str = "text/plain; charset=utf-8";
/// The content type of Prometheus' text format.
pub const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const NO_GATEWAY: &str = "etcd-prism does not serve the JSON gateway: use gRPC\n";

/// Answers one request of a client.
pub fn handle(worker: &Worker, request: &Request<Incoming>) -> Response<ResponseBody> {
    let response = answer(&worker.gateway, request.method(), request.uri());
    response.map(|body| ResponseBody::Http(Full::new(Bytes::from(body))))
}

/// The answer to a request; the admin listener gives the same ones.
pub fn answer(gateway: &Gateway, method: &Method, uri: &http::Uri) -> Response<String> {
    let path = uri.path();
    if path.starts_with("/v3/") {
        return text(StatusCode::NOT_IMPLEMENTED, NO_GATEWAY);
    }
    let Some(served) = Served::of(path) else { return text(StatusCode::NOT_FOUND, "404 page not found\n") };
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let query = query::Query::parse(uri.query().unwrap_or_default());
    match served {
        Served::Version => match versions::of(&view::all(gateway)) {
            Some(versions) => json(StatusCode::OK, &versions),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "etcd-prism: not every shard was contacted yet\n"),
        },
        Served::Metrics => body(StatusCode::OK, EXPOSITION, (gateway.exposition.0)()),
        Served::Health => {
            let health = probe::health(&view::home(gateway), &query);
            let code = if health.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json(code, &health)
        }
        Served::Livez => outcome(&probe::Checks::default(), "", &query),
        Served::Readyz(check) => outcome(&probe::ready(gateway), check, &query),
    }
}

/// What a path asks for.
enum Served<'a> {
    Version,
    Metrics,
    Health,
    Livez,
    /// All checks, or the one that is named.
    Readyz(&'a str),
}

impl<'a> Served<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "/version" => Some(Self::Version),
            "/metrics" => Some(Self::Metrics),
            "/health" => Some(Self::Health),
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz("")),
            _ => {
                let check = path.strip_prefix("/readyz/")?;
                probe::READY.contains(&check).then_some(Self::Readyz(check))
            }
        }
    }
}

fn outcome(checks: &probe::Checks, only: &str, query: &query::Query<'_>) -> Response<String> {
    let (good, body) = checks.outcome(only, query);
    text(if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

fn json<T: Serialize>(code: StatusCode, value: &T) -> Response<String> {
    match serde_json::to_string(value) {
        Ok(json) => body(code, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn text(code: StatusCode, content: &str) -> Response<String> {
    let mut response = body(code, TEXT, content.to_owned());
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), nosniff);
    response
}

fn body(code: StatusCode, content_type: &'static str, content: String) -> Response<String> {
    let mut response = Response::new(content);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
