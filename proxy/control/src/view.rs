//! What the data path sees of a route.

use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_ownership::{Answer, Permit, Reason};

use crate::line::RouteLine;

/// A route at one moment. Immutable; replaced whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    pub answer: Answer,
    /// Rises whenever anything else here changes.
    pub generation: u64,
    /// The key of the route's fence, the same on every shard.
    pub fence_key: Bytes,
    /// The last revision that was another shard's to show; 0 if there is none. What lies at or below it is answered as
    /// compacted.
    pub floor: i64,
    /// How revisions are translated while the route is served; `None`: they are the shard's own, and bytes pass through.
    pub line: Option<Arc<RouteLine>>,
    /// Writes carry no fence and reads need no session: fences are switched off, or the shard's user has no rights on the
    /// reserved keys.
    pub unfenced: bool,
}

impl RouteView {
    pub fn permit(&self) -> Option<Permit> {
        match self.answer {
            Answer::Permit(permit) => Some(permit),
            _ => None,
        }
    }
}

/// Why a route is not served now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotServed {
    /// It may be later; the wait was over before.
    #[error("route {route} is not served yet: {reason}")]
    Waited { route: String, reason: Reason },
    /// Not before an operator has acted.
    #[error("route {route} is refused: {reason}")]
    Refused { route: String, reason: Reason },
}
