//! Responses with events, translated: their link waits while the provenance of keys is looked up.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_routing::RouteId;
use etcd_prism_wire::Code;
use etcd_prism_wire::translate::{Header, Kind, Pieces};

use super::line::InReign;
use crate::context::Context;
use crate::error::RequestError;
use crate::provenance::{self, Reign};

/// Before provenance is looked up again that could not be read.
const RETRY: Duration = Duration::from_millis(100);

type Answer = Result<Pieces, RequestError>;

/// A response on its way through translation, as it is to be passed on.
pub(super) struct Translating {
    pub events: Events,
    work: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

/// What is known of a response with events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Events {
    /// The client's watcher, and its id on the shard's stream.
    pub id: i64,
    pub upstream_id: i64,
    /// How many the client is to get.
    pub count: usize,
    /// The last revision of the shard in the response.
    pub last: i64,
    /// The rest of the response is to come.
    pub more: bool,
    /// It is the last part of one that came in several.
    pub ends: bool,
}

impl Translating {
    pub(super) fn new(cx: &Context, route: RouteId, at: &InReign, message: Bytes, events: Events) -> Self {
        let (cx, at) = (cx.clone(), at.clone());
        let work = async move {
            loop {
                let reign = Reign { route, line: &at.line, index: at.reign };
                match provenance::translate(&cx, reign, Kind::Watch, &message, Header::Within).await {
                    Err(error) if may_pass(&error) => {
                        tracing::debug!(%error, "watch: provenance");
                        tokio::time::sleep(RETRY).await;
                    }
                    answer => return answer,
                }
            }
        };
        Self { events, work: Box::pin(work) }
    }

    pub(super) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Answer> {
        self.work.as_mut().poll(cx)
    }
}

/// Whether the shard could not be asked, rather than that its answer is no good.
fn may_pass(error: &RequestError) -> bool {
    matches!(error.status().code, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
}
