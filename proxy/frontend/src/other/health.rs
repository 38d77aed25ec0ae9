//! grpc.health.v1: whether this proxy serves. A shard that is down does not take it out of a load balancer.

use std::collections::BTreeMap;

use bytes::Bytes;
use etcd_prism_wire::{Code, Status, frame};
use http::Response;
use http_body::Frame;
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::{RequestError, SERVER_STOPPED};
use crate::gateway::Gateway;
use crate::{other, respond};

/// The reply to `List`, a method younger than the generated types.
#[derive(Clone, PartialEq, Message)]
struct HealthListResponse {
    #[prost(btree_map = "string, message", tag = "1")]
    statuses: BTreeMap<String, HealthCheckResponse>,
}

/// # Errors
/// `NotFound` for a service that is not served.
pub fn check(
    gateway: &Gateway,
    request: &HealthCheckRequest,
) -> Result<Response<ResponseBody>, RequestError> {
    match serving(gateway.draining.is_cancelled(), &request.service) {
        Some(status) => Ok(respond::typed(&reply(status))),
        None => Err(Status::new(Code::NotFound, "unknown service").into()),
    }
}

pub fn list(gateway: &Gateway) -> Response<ResponseBody> {
    let draining = gateway.draining.is_cancelled();
    let names = std::iter::once("").chain(other::services());
    let statuses =
        names.filter_map(|name| Some((name.to_owned(), reply(serving(draining, name)?)))).collect();
    respond::typed(&HealthListResponse { statuses })
}

/// Tells the status and, when the proxy drains, its change; then the stream ends so that the client goes elsewhere.
pub fn watch(cx: &Context, request: &HealthCheckRequest) -> Response<ResponseBody> {
    let draining = cx.gateway().draining.clone();
    let service = request.service.clone();
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            () = tell(&sender, &draining, &service) => {}
            () = sender.closed() => {}
        }
    });
    respond::with_body(ResponseBody::Stream(receiver))
}

async fn tell(sender: &mpsc::Sender<Frame<Bytes>>, draining: &CancellationToken, service: &str) {
    // For `Watch` a service that is not served is a status too.
    let message = |draining| {
        let status = serving(draining, service).unwrap_or(ServingStatus::ServiceUnknown);
        Frame::data(frame::encode(&[&reply(status).encode_to_vec()]))
    };
    let was_draining = draining.is_cancelled();
    if sender.send(message(was_draining)).await.is_err() {
        return;
    }
    draining.cancelled().await;
    if !was_draining && sender.send(message(true)).await.is_err() {
        return;
    }
    let end = Status::new(Code::Unavailable, SERVER_STOPPED);
    // A client that is gone needs no status.
    drop(sender.send(Frame::trailers(respond::trailers(&end))).await);
}

fn serving(draining: bool, service: &str) -> Option<ServingStatus> {
    let known = service.is_empty() || other::services().any(|s| s == service);
    let status = if draining { ServingStatus::NotServing } else { ServingStatus::Serving };
    known.then_some(status)
}

fn reply(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_services() {
        use ServingStatus::{NotServing, Serving};
        for (draining, service, expected) in [
            (false, "", Some(Serving)),
            (false, "etcdserverpb.KV", Some(Serving)),
            (true, "etcdserverpb.KV", Some(NotServing)),
            (false, "nobody.Knows", None),
        ] {
            assert_eq!(serving(draining, service), expected, "{service}");
        }
    }

    #[tokio::test]
    async fn a_watch_ends_when_the_proxy_drains() {
        let (sender, mut receiver) = mpsc::channel::<Frame<Bytes>>(1);
        let draining = CancellationToken::new();
        let cancel = draining.clone();
        let client = async move {
            let first = receiver.recv().await.unwrap().into_data().unwrap();
            cancel.cancel();
            let second = receiver.recv().await.unwrap().into_data().unwrap();
            let end = receiver.recv().await.unwrap().into_trailers().unwrap();
            (first, second, end)
        };
        let ((), (first, second, end)) = tokio::join!(tell(&sender, &draining, ""), client);
        assert_eq!(first, frame::encode(&[&reply(ServingStatus::Serving).encode_to_vec()]));
        assert_eq!(second, frame::encode(&[&reply(ServingStatus::NotServing).encode_to_vec()]));
        assert_eq!(end.get("grpc-status").unwrap(), "14");
    }
}
