//! From a request's path to its handler.

use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_upstream::reply;
use etcd_prism_wire::{Code, Status};
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use prost::Message;

use crate::body::ResponseBody;
use crate::context::{Connection, Context};
use crate::error::RequestError;
use crate::gateway::Worker;
use crate::kv::{compact, range, stream, write};
use crate::metrics::Account;
use crate::{lease, lock, metadata, other, respond, unary, watch};

/// Every method that is served, by its path. Requests are counted by their place here.
pub const METHODS: &[&str] = &[
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/RangeStream",
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Compact",
    "/etcdserverpb.Watch/Watch",
    "/etcdserverpb.Lease/LeaseGrant",
    "/etcdserverpb.Lease/LeaseRevoke",
    "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Lease/LeaseTimeToLive",
    "/etcdserverpb.Lease/LeaseLeases",
    "/v3lockpb.Lock/Lock",
    "/v3lockpb.Lock/Unlock",
    "/v3electionpb.Election/Campaign",
    "/v3electionpb.Election/Proclaim",
    "/v3electionpb.Election/Leader",
    "/v3electionpb.Election/Observe",
    "/v3electionpb.Election/Resign",
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Alarm",
    "/etcdserverpb.Maintenance/Defragment",
    "/etcdserverpb.Maintenance/Hash",
    "/etcdserverpb.Maintenance/HashKV",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Maintenance/MoveLeader",
    "/etcdserverpb.Maintenance/Downgrade",
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.Cluster/MemberAdd",
    "/etcdserverpb.Cluster/MemberRemove",
    "/etcdserverpb.Cluster/MemberUpdate",
    "/etcdserverpb.Cluster/MemberPromote",
    "/etcdserverpb.Auth/AuthEnable",
    "/etcdserverpb.Auth/AuthDisable",
    "/etcdserverpb.Auth/AuthStatus",
    "/etcdserverpb.Auth/Authenticate",
    "/etcdserverpb.Auth/UserAdd",
    "/etcdserverpb.Auth/UserGet",
    "/etcdserverpb.Auth/UserList",
    "/etcdserverpb.Auth/UserDelete",
    "/etcdserverpb.Auth/UserChangePassword",
    "/etcdserverpb.Auth/UserGrantRole",
    "/etcdserverpb.Auth/UserRevokeRole",
    "/etcdserverpb.Auth/RoleAdd",
    "/etcdserverpb.Auth/RoleGet",
    "/etcdserverpb.Auth/RoleList",
    "/etcdserverpb.Auth/RoleDelete",
    "/etcdserverpb.Auth/RoleGrantPermission",
    "/etcdserverpb.Auth/RoleRevokePermission",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    // No path looks like this: whatever else is asked for is counted here.
    UNKNOWN,
];

/// Stands for all paths that are not served: clients must not be able to make up label values.
const UNKNOWN: &str = "(unknown)";

type Reply = Result<Response<ResponseBody>, RequestError>;

/// Answers one request.
pub async fn handle(
    worker: Arc<Worker>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    // Plain HTTP comes over both versions: browsers and scrapers negotiate HTTP/2 on TLS.
    if request.version() != Version::HTTP_2 || !is_grpc(request.headers()) {
        return crate::http1::handle(&worker, &request);
    }
    let (mut head, body) = request.into_parts();
    if head.method != Method::POST {
        return respond::http(
            http::StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "gRPC calls are POST requests\n",
        );
    }
    let path = head.uri.path();
    let method = METHODS.iter().position(|m| *m == path).unwrap_or(METHODS.len() - 1);
    let gateway = worker.gateway.clone();
    let span = gateway.tracer.start(&mut head.headers, METHODS[method]);
    let mut account = gateway.metrics.start(method);
    let cx = Context { worker, connection, headers: Arc::new(head.headers) };
    let response = if METHODS[method] == UNKNOWN {
        respond::status(&other::unknown(path))
    } else if let Some(encoding) = metadata::unknown_encoding(&cx.headers) {
        // grpc-go's text for a server that lacks the codec.
        let text = format!("grpc: Decompressor is not installed for grpc-encoding \"{encoding}\"");
        respond::status(&Status::new(Code::Unimplemented, text))
    } else if metadata::has_valid_version(&cx.headers) {
        serve(&cx, METHODS[method], body, &mut account).await.unwrap_or_else(|e| respond::status(&e.status()))
    } else {
        let text = "etcdserver: invalid client api version";
        respond::status(&Status::new(Code::InvalidArgument, text))
    };
    let code = code_of(&response);
    span.finish(gateway.metrics.route(account.routed), code);
    account.finish(code, reply_bytes(&response));
    response
}

async fn serve(cx: &Context, path: &'static str, body: Incoming, account: &mut Account<'_>) -> Reply {
    let max = cx.gateway().limits().max_message_bytes;
    // Streams of requests read their body themselves.
    match path {
        "/etcdserverpb.Watch/Watch" => return Ok(watch::serve(cx.clone(), body)),
        "/etcdserverpb.Lease/LeaseKeepAlive" => return Ok(lease::keep_alive(cx.clone(), body)),
        _ if path.starts_with(other::reflection::PACKAGE) => {
            return other::reflection::handle(cx, path, body).await;
        }
        _ => {}
    }
    let request = unary::read(body, max).await?;
    account.request_bytes = request.frame.len();
    let routed = &mut account.routed;
    match path {
        "/etcdserverpb.KV/Range" => range::handle(cx, request, routed).await,
        "/etcdserverpb.KV/RangeStream" => stream::handle(cx, request, routed).await,
        "/etcdserverpb.KV/Put" => write::put(cx, request, routed).await,
        "/etcdserverpb.KV/DeleteRange" => write::delete_range(cx, request, routed).await,
        "/etcdserverpb.KV/Txn" => write::txn(cx, request, routed).await,
        "/etcdserverpb.KV/Compact" => compact::handle(cx, request).await,
        "/etcdserverpb.Lease/LeaseGrant" => typed(cx, Box::pin(lease::grant(cx, decode(&request)?)).await?),
        "/etcdserverpb.Lease/LeaseRevoke" => typed(cx, lease::revoke(cx, decode(&request)?).await?),
        "/etcdserverpb.Lease/LeaseTimeToLive" => {
            typed(cx, Box::pin(lease::time_to_live(cx, decode(&request)?)).await?)
        }
        "/etcdserverpb.Lease/LeaseLeases" => typed(cx, lease::leases(cx).await?),
        _ if path.starts_with("/v3lockpb.") || path.starts_with("/v3electionpb.") => {
            Box::pin(lock::handle(cx, path, request, routed)).await
        }
        _ => Box::pin(other::handle(cx, path, request)).await,
    }
}

/// Bytes of a reply's message, as far as they are known when it starts: not those of streams.
fn reply_bytes(response: &Response<ResponseBody>) -> usize {
    match response.body() {
        ResponseBody::Ready { data, .. } => data.as_ref().map_or(0, Bytes::len),
        ResponseBody::Forward(forward) => forward.head.as_ref().map_or(0, Bytes::len) + forward.left,
        _ => 0,
    }
}

/// Decodes a request of the generated types.
pub fn decode<M: Message + Default>(request: &unary::UnaryRequest) -> Result<M, RequestError> {
    M::decode(request.message()).map_err(|e| {
        Status::new(Code::Internal, format!("grpc: error unmarshalling request: proto: {e}")).into()
    })
}

/// A reply of the generated types, with our header.
pub fn typed<M: Message>(cx: &Context, reply: M) -> Reply {
    Ok(respond::message(&[&reply.encode_to_vec(), &cx.gateway().identity.header_patch]))
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}

/// The code that a reply ends with, as far as it is known when it starts.
fn code_of(response: &Response<ResponseBody>) -> Code {
    let early = reply::status_of(response.headers());
    let late = match response.body() {
        ResponseBody::Ready { trailers: Some(trailers), .. } => reply::status_of(trailers),
        _ => None,
    };
    early.or(late).map_or(Code::Ok, |s| s.code)
}
