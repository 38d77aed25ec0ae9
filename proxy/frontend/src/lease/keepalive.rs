//! LeaseKeepAlive.
//!
//! A request renews the lease on every shard that has it, and only then: nothing is renewed that the client did not ask
//! for. To a shard a single renewal is a stream of one message, which looks like a unary call.

use std::collections::HashSet;

use etcd_prism_wire::frame::FrameReader;
use etcd_prism_wire::{Code, Status, request};
use futures_util::stream::{FuturesOrdered, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::renew::renew;
use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::{RequestError, SERVER_STOPPED};
use crate::queue::{self, Sender};
use crate::respond;

/// Renewals under way at once per stream; more are read when one is done.
const AT_ONCE: usize = 128;
/// Bytes queued for a client that does not read before no more requests of it are taken.
const QUEUED: usize = 64 * 1024;

/// Serves a stream of renewals.
pub fn keep_alive(cx: Context, body: Incoming) -> Response<ResponseBody> {
    let (sender, receiver) = queue::queue();
    tokio::spawn(async move {
        let status = tokio::select! {
            end = serve(&cx, body, &sender) => match end {
                Ok(()) => Status::new(Code::Ok, ""),
                Err(error) => error.status(),
            },
            () = std::future::poll_fn(|task| sender.poll_gone(task)) => return,
            () = cx.gateway().draining.cancelled() => Status::new(Code::Unavailable, SERVER_STOPPED),
        };
        sender.finish(&status);
    });
    respond::with_body(ResponseBody::Queue(receiver))
}

async fn serve(cx: &Context, mut body: Incoming, sender: &Sender) -> Result<(), RequestError> {
    let mut frames = FrameReader::new(cx.gateway().limits().max_message_bytes);
    // Answers leave in the order of the requests, as etcd's do; each is bounded.
    let mut renewals = FuturesOrdered::new();
    let mut ids = HashSet::new();
    let mut open = true;
    loop {
        while renewals.len() < AT_ONCE
            && let Some(message) = frames.next_message()?
        {
            let id = request::int64_field(&message, 1)?;
            if ids.len() < AT_ONCE {
                ids.insert(id);
            }
            renewals.push_back(async move { (id, renew(cx, id).await) });
        }
        if !open && renewals.is_empty() {
            return Ok(());
        }
        let full = sender.queued() >= QUEUED;
        let may_read = open && renewals.len() < AT_ONCE && !full;
        tokio::select! {
            Some((id, outcome)) = renewals.next() => match outcome {
                Ok(answer) => sender.push(answer),
                // A stream of one lease ends as etcd's would. One that renews several goes on for the others; the client
                // asks again.
                Err(error) if ids.len() == 1 => return Err(error.into()),
                Err(error) => tracing::debug!(lease = id, %error, "renewal without an answer"),
            },
            frame = body.frame(), if may_read => match frame {
                Some(Ok(frame)) => if let Ok(data) = frame.into_data() {
                    frames.push(data);
                },
                // A reset by the client; the reply has no reader any more.
                Some(Err(_)) => return Ok(()),
                None => open = false,
            },
            gone = std::future::poll_fn(|task| sender.poll_drained(task, QUEUED / 2)), if open && full => {
                if gone { return Ok(()); }
            }
        }
    }
}
