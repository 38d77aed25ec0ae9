//! Observe: the leader and its values, as a stream.

use std::convert::Infallible;

use bytes::Bytes;
use etcd_prism_proto::v3electionpb::{LeaderRequest, LeaderResponse};
use etcd_prism_wire::frame;
use http::Response;
use http_body::Frame;
use prost::Message;
use tokio::sync::mpsc;

use super::hint::Hint;
use super::names::Names;
use super::patience::Patience;
use super::turn::next_look;
use super::{PAUSE, as_of_the_services, may_pass};
use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::typed;
use crate::metrics::Routed;
use crate::{place, respond};

/// Leaders that are ready for a client that does not read; it gets the newest when it does.
const QUEUED: usize = 1;

/// Tells who leads, now and whenever that or the leader's value changes. Values that are replaced quickly may be left out,
/// never the last.
pub(super) fn observe(
    cx: &Context,
    request: LeaderRequest,
    routed: &mut Routed,
) -> Result<Response<ResponseBody>, RequestError> {
    let patience = Patience::of(cx);
    let names = Names::of(cx, &request.name)?;
    place::account(routed, &names.footprint, false);
    let (sender, receiver) = mpsc::channel(QUEUED);
    let cx = cx.clone();
    tokio::spawn(async move {
        let status = tokio::select! {
            end = follow(&cx, &names, &sender) => match end {
                Ok(never) => match never {},
                Err(error) => as_of_the_services(error).status(),
            },
            status = patience.over() => status,
            () = sender.closed() => return,
        };
        // A client that is gone needs no status.
        drop(sender.send(Frame::trailers(respond::trailers(&status))).await);
    });
    Ok(respond::with_body(ResponseBody::Stream(receiver)))
}

async fn follow(
    cx: &Context,
    names: &Names,
    sender: &mpsc::Sender<Frame<Bytes>>,
) -> Result<Infallible, RequestError> {
    let mut told: Option<(Bytes, i64)> = None;
    let mut hint: Option<Hint> = None;
    loop {
        let read =
            typed::range(cx, &names.footprint, &names.oldest(), "an election", &mut Routed::None).await;
        let (grant, reply) = match read {
            Ok(read) => read,
            Err(error) if may_pass(&error) => {
                tracing::debug!(%error, "observing an election");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        // Of a leader its own key is watched, of nobody all.
        let (key, range_end) = match reply.kvs.first() {
            Some(kv) => (kv.key.clone(), Bytes::new()),
            None => (names.prefix.clone(), names.end.clone()),
        };
        if let Some(kv) = reply.kvs.into_iter().next() {
            let news = Some((kv.key.clone(), kv.mod_revision));
            if told != news {
                let response = LeaderResponse { header: reply.header, kv: Some(kv) };
                let frame = frame::encode(&[&response.encode_to_vec()]);
                if sender.send(Frame::data(frame)).await.is_err() {
                    // The caller sees that the client is gone.
                    std::future::pending::<()>().await;
                }
                told = news;
            }
        }
        hint = next_look(cx, &grant, hint, key, range_end).await;
    }
}
