//! Maintenance, Cluster and Auth, health checks and reflection: what is not about keys, watches or leases.

use etcd_prism_wire::{Code, Status};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::dispatch::{METHODS, decode, typed};
use crate::error::RequestError;
use crate::unary::UnaryRequest;

pub mod alarm;
pub mod auth;
pub mod health;
pub mod members;
pub mod one_shard;
pub mod reflection;
pub mod status;

/// Serves `path`, one of [`METHODS`].
pub async fn handle(
    cx: &Context,
    path: &'static str,
    request: UnaryRequest,
) -> Result<Response<ResponseBody>, RequestError> {
    match path {
        "/etcdserverpb.Maintenance/Status" => typed(cx, status::handle(cx.gateway())?),
        "/etcdserverpb.Maintenance/Alarm" => typed(cx, alarm::handle(cx, decode(&request)?).await?),
        "/etcdserverpb.Cluster/MemberList" => typed(cx, members::list(cx.gateway())),
        "/etcdserverpb.Auth/AuthStatus" => typed(cx, auth::status(cx.gateway())),
        "/grpc.health.v1.Health/Check" => health::check(cx.gateway(), &decode(&request)?),
        "/grpc.health.v1.Health/List" => Ok(health::list(cx.gateway())),
        "/grpc.health.v1.Health/Watch" => Ok(health::watch(cx, &decode(&request)?)),
        _ if path.starts_with(auth::SERVICE) => Err(auth::refuse(path).into()),
        _ => one_shard::handle(cx, path, request).await,
    }
}

/// The services of [`METHODS`].
pub fn services() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    METHODS.iter().filter_map(|path| path.strip_prefix('/')?.rsplit_once('/')).filter_map(
        move |(service, _)| {
            let is_new = service != last;
            last = service;
            is_new.then_some(service)
        },
    )
}

/// The status for a path that is not served, in grpc-go's words.
pub fn unknown(path: &str) -> Status {
    let text = match path.strip_prefix('/').unwrap_or(path).rsplit_once('/') {
        None => format!("malformed method name: {path:?}"),
        Some((service, method)) if services().any(|s| s == service) => {
            format!("unknown method {method} for service {service}")
        }
        Some((service, _)) => format!("unknown service {service}"),
    };
    Status::new(Code::Unimplemented, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served() {
        for (path, text) in [
            ("/nobody.Knows/It", "unknown service nobody.Knows"),
            ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
            ("/a/b/c", "unknown service a/b"),
            ("/nothing", "malformed method name: \"/nothing\""),
        ] {
            assert_eq!(unknown(path), Status::new(Code::Unimplemented, text));
        }
    }

    #[test]
    fn every_service_once() {
        let mut all: Vec<_> = services().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.contains(&"etcdserverpb.Maintenance") && all.contains(&"grpc.health.v1.Health"));
    }
}
