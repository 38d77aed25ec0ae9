//! The Watch service.
//!
//! A client's stream carries watchers of any routes. Its driver task holds one upstream stream per shard that has one
//! of the watchers (a link), reads them eagerly and queues what the client is to get. What goes wrong upstream is
//! mended upstream: a watcher is created again at the revision after the last one it delivered, and the client sees
//! nothing. A client that does not read costs a bounded queue: its links are closed, and opened again where it left off.

mod create;
mod cut;
mod driver;
mod early;
mod handover;
mod line;
mod link;
mod messages;
mod outbox;
mod ownership;
mod placing;
mod progress;
mod rights;
mod span;
mod translation;
mod upstream;
mod watcher;

use etcd_prism_wire::{Code, Status};
use http::Response;
use hyper::body::Incoming;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::SERVER_STOPPED;
use crate::{queue, respond};

/// Serves a watch stream.
pub fn serve(cx: Context, body: Incoming) -> Response<ResponseBody> {
    let (sender, receiver) = queue::queue();
    tokio::spawn(async move {
        let draining = cx.gateway().draining.clone();
        let mut driver = driver::Driver::new(cx, body, sender);
        let end = tokio::select! {
            end = driver.run() => end,
            // Clients resume on another proxy; any other status would end their watches.
            () = draining.cancelled() => Some(Status::new(Code::Unavailable, SERVER_STOPPED)),
        };
        if let Some(status) = end {
            driver.finish(&status);
        }
    });
    respond::with_body(ResponseBody::Queue(receiver))
}
