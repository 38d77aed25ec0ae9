//! The rows of the protocol's table: from what was read to the one Txn that a row is.
//!
//! Each compares the mod revision of the fence that it writes. What it takes from the other shard may be stale: either it is
//! a fact that stays true (a reign has begun; an epoch has passed), or a later row checks it.

use crate::id::ShardUid;
use crate::timeline::Reign;
use crate::txn::Txn;
use crate::value::{Begin, Fence, State};

use super::Standing;

/// The fences are not as the row needs them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{row}: the fence on shard {shard} is {found}")]
pub struct NotNow {
    pub row: &'static str,
    pub shard: ShardUid,
    pub found: &'static str,
}

fn not_now(row: &'static str, at: &Standing) -> NotNow {
    NotNow { row, shard: at.shard, found: at.fence.state.name() }
}

fn write(route: &str, at: &Standing, n: u64, state: State) -> Txn {
    Txn::fence(route, at.revision, Fence { n, state, ..at.fence.clone() })
}

/// Row 1: the owner names the shard that the route is to go to.
///
/// # Errors
/// It is not open, or names one already.
pub fn claim(route: &str, source: &Standing, target: ShardUid) -> Result<Txn, NotNow> {
    match source.fence.state {
        State::Open { peer: None } if target != source.shard => {
            Ok(write(route, source, source.fence.n, State::Open { peer: Some(target) }))
        }
        _ => Err(not_now("claim", source)),
    }
}

/// Row 2: a standby is made of a shard that holds nothing, or nothing that counts. Everything of the route must be purged
/// there under the new epoch before anything is copied.
///
/// # Errors
/// The owner does not name the shard, or the shard rules, or is about to.
pub fn import(
    route: &str,
    source: &Standing,
    target: ShardUid,
    found: Option<&Standing>,
) -> Result<Txn, NotNow> {
    if source.fence.state != (State::Open { peer: Some(target) }) {
        return Err(not_now("import", source));
    }
    let state = State::Importing { peer: Some(source.shard), claim: None };
    let fence = Fence { n: source.fence.n, definition: source.fence.definition, shard: target, state };
    match found {
        None => Ok(Txn::fence(route, 0, fence)),
        Some(at) => {
            let idle = matches!(
                at.fence.state,
                State::Retired | State::Standby { .. } | State::Importing { claim: None, .. }
            );
            let fits = idle && at.shard == target && at.fence.n <= source.fence.n;
            if fits { Ok(Txn::fence(route, at.revision, fence)) } else { Err(not_now("import", at)) }
        }
    }
}

/// Rows 2a and 5a: a new epoch for the standby. Whoever held the old one can neither apply nor flip.
///
/// # Errors
/// It is no standby.
pub fn raise(route: &str, standby: &Standing) -> Result<Txn, NotNow> {
    match standby.fence.state {
        State::Importing { peer: Some(_), claim: None } | State::Standby { .. } => {
            Ok(write(route, standby, standby.fence.n, standby.fence.state.clone()))
        }
        _ => Err(not_now("raise", standby)),
    }
}

/// Row 3.
///
/// # Errors
/// The owner is not open for a migration.
pub fn seal(route: &str, owner: &Standing) -> Result<Txn, NotNow> {
    match owner.fence.state {
        State::Open { peer: peer @ Some(_) } => {
            Ok(write(route, owner, owner.fence.n, State::Sealed { peer, claim: None }))
        }
        _ => Err(not_now("seal", owner)),
    }
}

/// Row 3a: needs nothing of the target.
///
/// # Errors
/// The owner is not sealed for a migration.
pub fn abort(route: &str, owner: &Standing) -> Result<Txn, NotNow> {
    match owner.fence.state {
        State::Sealed { peer: peer @ Some(_), claim: None } => {
            Ok(write(route, owner, owner.fence.n, State::Open { peer }))
        }
        _ => Err(not_now("abort", owner)),
    }
}

/// Row 4: the target may begin the next reign, under this very epoch and after this very revision. `g` is virtual, read once
/// every session had acknowledged the seal; `since` is raw, of the target: it held exactly what the owner has there then.
///
/// # Errors
/// The owner is not sealed for a migration.
pub fn decide(
    route: &str,
    owner: &Standing,
    target_epoch: i64,
    (g, floor, since): (i64, i64, i64),
) -> Result<Txn, NotNow> {
    match owner.fence.state {
        State::Sealed { peer: Some(target), claim: None } => {
            let state = State::Flipping { target, target_epoch, g, floor, since };
            Ok(write(route, owner, owner.fence.n.saturating_add(1), state))
        }
        _ => Err(not_now("decide", owner)),
    }
}

/// Row 5, the commit point: all of it comes from the stored `flipping`, and from what never changes: `earlier` is the line
/// that ends with the owner's reign.
///
/// # Errors
/// The owner is not flipping to this shard, or the epoch has passed.
pub fn flip(route: &str, owner: &Standing, target: &Standing, earlier: Vec<Reign>) -> Result<Txn, NotNow> {
    let (after, floor, since) = granted("flip", owner, target)?;
    let state = State::Open { peer: Some(owner.shard) };
    let fence = Fence { n: owner.fence.n, definition: owner.fence.definition, shard: target.shard, state };
    Ok(Txn::opening(route, target.revision, fence, Begin { after, floor, since, earlier }))
}

/// Row 5a: the flip that is stored can no longer happen.
///
/// # Errors
/// As [`flip`].
pub fn kill(route: &str, owner: &Standing, target: &Standing) -> Result<Txn, NotNow> {
    granted("kill", owner, target)?;
    raise(route, target)
}

/// What a flip may write: `(g, floor, since)`.
fn granted(row: &'static str, owner: &Standing, found: &Standing) -> Result<(i64, i64, i64), NotNow> {
    match owner.fence.state {
        State::Flipping { target, target_epoch, g, floor, since }
            if target == found.shard && target_epoch == found.revision =>
        {
            Ok((g, floor, since))
        }
        _ => Err(not_now(row, owner)),
    }
}

/// Row 5b: the flip did not happen and cannot happen any more. Both stay true, so an old view of the target is as good.
///
/// # Errors
/// It may still happen, or has.
pub fn reopen(route: &str, owner: &Standing, target: &Standing) -> Result<Txn, NotNow> {
    match owner.fence.state {
        State::Flipping { target: named, target_epoch, .. }
            if named == target.shard && target.revision > target_epoch && target.fence.n < owner.fence.n =>
        {
            let n = owner.fence.n.saturating_sub(1);
            Ok(write(route, owner, n, State::Open { peer: Some(named) }))
        }
        _ => Err(not_now("reopen", owner)),
    }
}

/// Row 6: the reign that was granted has begun.
///
/// # Errors
/// It has not, as far as is known.
pub fn finish(route: &str, owner: &Standing, target: &Standing) -> Result<Txn, NotNow> {
    match owner.fence.state {
        State::Flipping { target: peer, .. } if peer == target.shard && target.fence.n >= owner.fence.n => {
            Ok(write(route, owner, owner.fence.n, State::Standby { peer }))
        }
        _ => Err(not_now("finish", owner)),
    }
}

/// Rows 8 and 9: the standby ends. Its keys are purged under the new epoch.
///
/// # Errors
/// It is no standby, or knows of a later reign than the owner.
pub fn retire(route: &str, owner: &Standing, standby: &Standing) -> Result<Txn, NotNow> {
    match standby.fence.state {
        State::Importing { claim: None, .. } | State::Standby { .. } if standby.fence.n <= owner.fence.n => {
            Ok(write(route, standby, owner.fence.n, State::Retired))
        }
        _ => Err(not_now("retire", standby)),
    }
}

/// The end of rows 8 and 9: the owner names no other shard any more.
///
/// # Errors
/// It is not open for a migration.
pub fn unlink(route: &str, owner: &Standing) -> Result<Txn, NotNow> {
    match owner.fence.state {
        State::Open { peer: Some(_) } => Ok(write(route, owner, owner.fence.n, State::Open { peer: None })),
        _ => Err(not_now("unlink", owner)),
    }
}
