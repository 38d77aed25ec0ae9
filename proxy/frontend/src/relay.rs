//! Passes a shard's stream of messages on, each patched.

use bytes::Bytes;
use etcd_prism_upstream::{Reply, UpstreamError, reply};
use etcd_prism_wire::frame::{self, FrameReader};
use etcd_prism_wire::{Code, Malformed, Status};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::body::ResponseBody;
use crate::respond;

type Sender = mpsc::Sender<Frame<Bytes>>;

/// Starts a task that relays; `patch` says what to append to a message. It holds one message at a time.
pub fn start<P>(reply: Reply, shard: String, patch: P) -> Response<ResponseBody>
where
    P: Fn(&[u8]) -> Result<Bytes, Malformed> + Send + Sync + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let trailers = tokio::select! {
            end = run(reply, &shard, &patch, &sender) => end.unwrap_or_else(|e| respond::trailers(&e.status())),
            // Dropping the reply cancels it at the shard.
            () = sender.closed() => return,
        };
        // A client that is gone needs no status.
        drop(sender.send(Frame::trailers(trailers)).await);
    });
    respond::with_body(ResponseBody::Stream(receiver))
}

async fn run<P>(
    mut upstream: Reply,
    shard: &str,
    patch: &P,
    sender: &Sender,
) -> Result<HeaderMap, UpstreamError>
where
    P: Fn(&[u8]) -> Result<Bytes, Malformed>,
{
    let lost = |reason: &dyn std::fmt::Display| UpstreamError::ConnectionLost {
        shard: shard.to_owned(),
        reason: reason.to_string(),
    };
    let mut frames = FrameReader::new(reply::MAX_REPLY);
    loop {
        // Nothing is read that could not be passed on: a client that does not read holds one message here and one in its
        // connection.
        let Ok(permit) = sender.reserve().await else {
            return Err(Status::new(Code::Canceled, "client is gone").into());
        };
        let message = loop {
            if let Some(message) = frames.next_message().map_err(|e| lost(&e))? {
                break message;
            }
            let Some(frame) = upstream.body.frame().await else { return Err(lost(&"cut off")) };
            match frame.map_err(|e| lost(&e))?.into_data() {
                Ok(data) => frames.push(data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let status = reply::status_of(&trailers).ok_or_else(|| lost(&"no grpc-status"))?;
                    // Half a message and a success would look like a whole answer.
                    let whole = frames.is_empty() || status.code != Code::Ok;
                    return if whole { Ok(trailers) } else { Err(lost(&"message cut off")) };
                }
            }
        };
        let framed = frame::encode(&[&message, &patch(&message).map_err(|e| lost(&e))?]);
        permit.send(Frame::data(framed));
    }
}
