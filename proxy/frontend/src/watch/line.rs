//! How the revisions of a leg's shard are shown to clients.

use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_control::RouteLine;
use etcd_prism_routing::ShardId;
use etcd_prism_wire::Status;
use etcd_prism_wire::translate::{self, Header, Kind, Lookup, Pieces};

use super::driver::Driver;
use super::span::Span;

/// A reign of a route that was moved.
#[derive(Debug, Clone)]
pub(super) struct InReign {
    pub line: Arc<RouteLine>,
    pub reign: usize,
    pub span: Span,
}

/// Where on a line a watch begins.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub shard: ShardId,
    pub raw: i64,
    pub at: InReign,
}

impl InReign {
    pub(super) fn new(line: &Arc<RouteLine>, reign: usize) -> Option<Self> {
        Some(Self { line: line.clone(), reign, span: Span::of(line, reign)? })
    }

    /// The same reign in a line that may have grown.
    pub(super) fn index_in(&self, line: &RouteLine) -> Option<usize> {
        line.index(self.line.reign(self.reign)?.n)
    }

    /// Translates a message that holds no events.
    pub(super) fn header(&self, message: &Bytes) -> Result<Pieces, Status> {
        let outside = || Driver::resumable("etcd-prism: the route's line has no such reign");
        // Without a pair nobody asks where one came from.
        let line = self.line.in_reign(self.reign, |_| Lookup::Absent).ok_or_else(outside)?;
        translate::reply(Kind::Watch, message, &line, Header::Within)
            .map_err(|e| Driver::resumable(format!("etcd-prism: watch response not translated: {e}")))
    }
}

impl Start {
    /// Where a watch from the virtual revision `start` begins; `None`: it was compacted. From now (0), and from what etcd is
    /// to refuse (below 0), on the present shard.
    pub(super) fn find(line: &Arc<RouteLine>, start: i64) -> Option<Self> {
        if start <= 0 {
            let present = line.present();
            let at = InReign::new(line, present)?;
            return Some(Self { shard: line.shard(present)?, raw: start, at });
        }
        let found = line.find(start)?;
        Some(Self { shard: found.shard, raw: found.raw, at: InReign::new(line, found.reign)? })
    }
}
