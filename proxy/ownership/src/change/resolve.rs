//! What becomes of fences that were prepared for a change.

use super::{Driver, Reason};
use crate::txn::Txn;
use crate::value::{Claim, Fence, State, Table};

/// What is known of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Committed,
    GivenUp,
}

fn fate(claim: Claim, revision: i64, table: &Table) -> Option<Fate> {
    if claim == table.claim {
        Some(Fate::Committed)
    } else if claim.0 > revision {
        None
    } else if claim.0 == revision && table.pending.is_some() {
        Some(Fate::Open)
    } else {
        // Either it was given up, or it was committed, resolved and followed by another change, and the fence was sealed
        // anew by a driver that did not know. Both ways back is where it came from.
        Some(Fate::GivenUp)
    }
}

impl Driver {
    /// The next prepared fence whose change is over.
    pub(super) fn resolve(&self, revision: i64, table: &Table) -> Result<Option<Txn>, Reason> {
        for (shard, route, epoch, fence) in self.facts.fences() {
            let Some(claim) = fence.state.claim() else { continue };
            let Some(fate) = fate(claim, revision, table) else {
                let name = |shard| self.name(shard);
                return Err(Reason::Restored { arbiter: name(table.arbiter), shard: name(shard) });
            };
            match fate {
                Fate::Open => {}
                Fate::Committed => return Ok(Some(forward(route, epoch, fence, table))),
                Fate::GivenUp => return Ok(Some(Txn::fence(route, epoch, back(fence)))),
            }
        }
        Ok(None)
    }
}

fn forward(route: &str, epoch: i64, fence: &Fence, table: &Table) -> Txn {
    let here = table.route(route).filter(|r| r.shard == fence.shard);
    let open = |n, definition| Fence { n, definition, shard: fence.shard, state: State::Open { peer: None } };
    let begin = table.begins.get(route);
    match (here, &fence.state, begin) {
        (Some(here), State::Importing { .. }, _) | (Some(here), _, Some(_)) => {
            let fence = open(fence.n.saturating_add(1), here.definition);
            Txn::opening(route, epoch, fence, begin.cloned().unwrap_or_default())
        }
        (Some(here), _, None) => Txn::fence(route, epoch, open(fence.n, here.definition)),
        (None, ..) => Txn::fence(route, epoch, Fence { state: State::Retired, ..fence.clone() }),
    }
}

fn back(fence: &Fence) -> Fence {
    let state = match fence.state {
        State::Sealed { peer, .. } => State::Open { peer },
        _ => State::Retired,
    };
    Fence { state, ..fence.clone() }
}
