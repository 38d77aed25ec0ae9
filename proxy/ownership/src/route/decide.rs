//! The rules, from all that was seen to an answer.

use etcd_prism_routing::ShardId;

use super::{Answer, Mirror, Permit, Reason, Seen, Slot, Suspect};
use crate::definition::DefinitionHash;
use crate::value::{Fence, State};

/// A readable fence with the shard that it was seen on.
#[derive(Clone, Copy)]
struct Found<'a> {
    shard: ShardId,
    slot: &'a Slot,
    epoch: i64,
    fence: &'a Fence,
}

pub(super) fn decide(slots: &[Slot], own: DefinitionHash, table: Option<&str>) -> (Answer, Vec<Reason>) {
    let found = readable(slots);
    let known = highest_reign(slots);
    let mut open: Vec<Found<'_>> = found.iter().copied().filter(|f| f.fence.state.is_open()).collect();
    open.sort_by_key(|f| f.fence.n);
    let owner = open.pop();
    let alarms = alarms(slots, &open, known);
    if let Some(problem) = table {
        return (Answer::Refuse(Reason::Table(problem.to_owned())), alarms);
    }
    let answer = match owner {
        Some(owner) => with_owner(owner, open.last().copied(), known, own),
        None => without_owner(slots, &found),
    };
    (answer, alarms)
}

/// `second` is the open fence with the next lower reign.
fn with_owner(owner: Found<'_>, second: Option<Found<'_>>, known: u64, own: DefinitionHash) -> Answer {
    let Found { slot, fence, .. } = owner;
    let shard = slot.name.clone();
    if let Some(second) = second
        && second.fence.n == fence.n
    {
        let second = second.slot.name.clone();
        return Answer::Refuse(Reason::TwoOwners { first: shard, second, n: fence.n });
    }
    if let Some(problem) = &slot.problem {
        return Answer::Refuse(Reason::Identity { shard, problem: problem.clone() });
    }
    let Some(id) = slot.id else { return Answer::Wait(Reason::Unidentified { shard }) };
    if fence.shard != id {
        return Answer::Refuse(Reason::Foreign { shard, written_for: fence.shard });
    }
    if fence.n < known {
        let n = fence.n;
        return if slot.confirmed >= known {
            Answer::Refuse(Reason::Restored { shard, n, known })
        } else {
            Answer::Wait(Reason::Rereading { shard, n, known })
        };
    }
    if fence.definition != own {
        return Answer::Refuse(Reason::Definition { shard, ours: own, stored: fence.definition });
    }
    Answer::Permit(Permit { shard: owner.shard, epoch: owner.epoch, n: fence.n })
}

fn without_owner(slots: &[Slot], found: &[Found<'_>]) -> Answer {
    for slot in slots {
        let shard = || slot.name.clone();
        match &slot.seen {
            Seen::WentBack { known, found, .. } => {
                return Answer::Refuse(Reason::WentBack { shard: shard(), known: *known, found: *found });
            }
            Seen::Fence { value: Err(error), .. } => {
                return Answer::Refuse(Reason::Unreadable { shard: shard(), error: error.clone() });
            }
            _ => {}
        }
    }
    let moving = |f: &&Found<'_>| {
        matches!(f.fence.state, State::Sealed { .. } | State::Flipping { .. } | State::Importing { .. })
    };
    // A source says more than a target: it is what the route waits for.
    let at = found.iter().filter(moving).min_by_key(|f| matches!(f.fence.state, State::Importing { .. }));
    if let Some(at) = at {
        let shard = at.slot.name.clone();
        return Answer::Wait(Reason::Moving { shard, state: at.fence.state.name() });
    }
    if let Some(slot) = slots.iter().find(|s| s.problem.is_some())
        && let Some(problem) = &slot.problem
    {
        return Answer::Refuse(Reason::Identity { shard: slot.name.clone(), problem: problem.clone() });
    }
    let unread = slots.iter().filter(|s| s.seen == Seen::Nothing);
    let unread: Vec<String> = unread.map(|s| s.name.clone()).collect();
    if !unread.is_empty() {
        return Answer::Wait(Reason::Unread { shards: unread });
    }
    // A switch or its end was seen on one shard only: on the others it is older than what is known.
    let known = highest_reign(slots);
    if let Some(behind) = slots.iter().find(|slot| slot.is_behind(known)) {
        let (shard, n) = (behind.name.clone(), behind.begun());
        return Answer::Wait(Reason::Rereading { shard, n, known });
    }
    match found.iter().max_by_key(|f| f.fence.n) {
        None => Answer::Wait(Reason::Missing),
        Some(last) => {
            if let Some(last) = deposed(found)
                && let Some((_, early)) = early(slots, last).next()
            {
                let (shard, last) = (early.name.clone(), last.slot.name.clone());
                return Answer::Wait(Reason::Successor { shard, last });
            }
            let shard = last.slot.name.clone();
            Answer::Refuse(Reason::NoOwner { shard, state: last.fence.state.name() })
        }
    }
}

/// Shards that were read before it was known that `last` rules no more: the next reign may have begun there since.
fn early<'s>(slots: &'s [Slot], last: Found<'s>) -> impl Iterator<Item = (ShardId, &'s Slot)> {
    let by_id = slots.iter().enumerate().map(|(i, slot)| (ShardId(i as u16), slot));
    by_id.filter(move |(shard, slot)| *shard != last.shard && slot.confirmed < next_reign(last.fence))
}

fn next_reign(fence: &Fence) -> u64 {
    fence.n.saturating_add(1)
}

/// The fence that knows most, where it says that its shard is done with the route. It does not name the reign that follows.
fn deposed<'s>(found: &[Found<'s>]) -> Option<Found<'s>> {
    found.iter().copied().max_by_key(|f| f.fence.n).filter(|f| f.fence.state == State::Retired)
}

/// What is wrong elsewhere: `lower` are the open fences that do not count.
fn alarms(slots: &[Slot], lower: &[Found<'_>], known: u64) -> Vec<Reason> {
    let mut out = Vec::new();
    for slot in slots {
        let shard = || slot.name.clone();
        match &slot.seen {
            Seen::WentBack { known, found, .. } => {
                out.push(Reason::WentBack { shard: shard(), known: *known, found: *found });
            }
            Seen::Fence { value: Err(error), .. } => {
                out.push(Reason::Unreadable { shard: shard(), error: error.clone() });
            }
            _ => {}
        }
    }
    for found in lower.iter().filter(|f| f.slot.confirmed >= known) {
        let (shard, n) = (found.slot.name.clone(), found.fence.n);
        out.push(Reason::Restored { shard, n, known });
    }
    out
}

pub(super) fn suspects(slots: &[Slot]) -> Vec<Suspect> {
    let found = readable(slots);
    let known = highest_reign(slots);
    let leads = |f: &Found<'_>| {
        matches!(f.fence.state, State::Open { .. } | State::Sealed { .. } | State::Flipping { .. })
    };
    let led = found.iter().any(|f| leads(f) && f.fence.begun() == known);
    let open = |slot: &Slot| matches!(&slot.seen, Seen::Fence { value: Ok(f), .. } if f.state.is_open());
    // Where somebody leads, only another one who says open is a puzzle.
    let behind = |slot: &Slot| slot.is_behind(known) && (!led || open(slot));
    let ids = slots.iter().enumerate().filter(|(_, slot)| behind(slot));
    let mut suspects: Vec<Suspect> = ids.map(|(i, _)| Suspect { shard: ShardId(i as u16), known }).collect();
    if found.iter().all(|f| !f.fence.state.is_open())
        && let Some(last) = deposed(&found)
    {
        let known = next_reign(last.fence);
        suspects.retain(|s| early(slots, last).all(|(shard, _)| shard != s.shard));
        suspects.extend(early(slots, last).map(|(shard, _)| Suspect { shard, known }));
    }
    suspects
}

/// The standby of the permitted owner.
pub(super) fn mirror(slots: &[Slot], answer: &Answer) -> Option<Mirror> {
    let Answer::Permit(permit) = answer else { return None };
    let found = readable(slots);
    let owner = found.iter().find(|f| f.shard == permit.shard)?;
    let State::Open { peer: Some(peer) } = owner.fence.state else { return None };
    let follows = |f: &&Found<'_>| {
        let of = match f.fence.state {
            State::Importing { peer, claim: None } => peer,
            State::Standby { peer } => Some(peer),
            _ => None,
        };
        of == Some(owner.fence.shard) && f.fence.n == permit.n && f.slot.problem.is_none()
    };
    let standby = found.iter().filter(follows).find(|f| f.slot.id == Some(peer) && f.fence.shard == peer)?;
    Some(Mirror { shard: standby.shard, epoch: standby.epoch })
}

/// The highest reign that is known to have begun.
fn highest_reign(slots: &[Slot]) -> u64 {
    slots.iter().map(Slot::begun).max().unwrap_or(0)
}

fn readable(slots: &[Slot]) -> Vec<Found<'_>> {
    let found = |(i, slot)| {
        let slot: &Slot = slot;
        match &slot.seen {
            Seen::Fence { mod_revision, value: Ok(fence) } => {
                Some(Found { shard: ShardId(i as u16), slot, epoch: *mod_revision, fence })
            }
            _ => None,
        }
    };
    slots.iter().enumerate().filter_map(found).collect()
}
