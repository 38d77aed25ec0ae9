//! The next command, from what was read.

use super::super::{Reason, Standing, rows};
use super::{Command, Driver, Goal, Outcome, Seen, Waiting};
use crate::id::ShardUid;
use crate::txn::Txn;
use crate::value::State;

/// The shards, as far as they count.
pub(super) struct Pair {
    pub(super) owner: Standing,
    pub(super) other: ShardUid,
    /// Its fence, if it has one.
    pub(super) standby: Option<Standing>,
    pub(super) reachable: bool,
}

impl Driver {
    pub(super) fn decide(&mut self) -> Result<Command, Reason> {
        let both = [self.source, self.target];
        for (shard, seen) in both.into_iter().zip(&self.seen) {
            if *seen == Seen::Unread {
                return Ok(Command::Read(shard));
            }
            if let Seen::View(view) = seen
                && let Some(error) = view.unreadable()
            {
                return Err(Reason::Unreadable { shard, error: error.clone() });
            }
        }
        if let Some(command) = self.flipping()? {
            return Ok(command);
        }
        let pair = match self.pair()? {
            Ok(pair) => pair,
            Err(command) => return Ok(command),
        };
        self.puzzled = 0;
        if self.definition.is_some_and(|own| own != pair.owner.fence.definition) && self.goal != Goal::Settle
        {
            return Err(Reason::Definition { shard: pair.owner.shard });
        }
        match pair.owner.fence.state {
            State::Sealed { claim: Some(_), .. } => Err(Reason::Changing),
            State::Sealed { peer, .. } | State::Open { peer } if peer.is_some_and(|p| p != pair.other) => {
                Err(Reason::Other { peer: peer.unwrap_or(pair.other) })
            }
            State::Sealed { .. } => self.switching(&pair),
            State::Open { peer: Some(_) } => self.linked(&pair),
            _ => self.unlinked(&pair),
        }
    }

    /// What becomes of a stored `flipping`, of either shard.
    fn flipping(&mut self) -> Result<Option<Command>, Reason> {
        for (at, other) in [(self.source, self.target), (self.target, self.source)] {
            let Some(owner) = self.view(at).and_then(|view| view.standing(at)) else { continue };
            let State::Flipping { target, target_epoch, .. } = owner.fence.state else { continue };
            if target != other {
                return Err(Reason::Other { peer: target });
            }
            let Some(view) = self.view(other) else {
                return Ok(Some(Command::Wait(Waiting::Unreachable(other))));
            };
            let Some(found) = view.standing(other).filter(|found| found.revision >= target_epoch) else {
                // Read before the decision was made.
                return self.puzzle(Reason::Restored { shard: other, n: owner.fence.n }).map(Some);
            };
            self.claimed = true;
            let txn = if found.fence.n >= owner.fence.n {
                rows::finish(&self.route, &owner, &found)?
            } else if found.revision > target_epoch {
                rows::reopen(&self.route, &owner, &found)?
            } else if matches!(self.goal, Goal::Cancel { .. }) {
                rows::kill(&self.route, &owner, &found)?
            } else {
                rows::flip(&self.route, &owner, &found, self.line(at, owner.fence.n.saturating_sub(1))?)?
            };
            return Ok(Some(Command::Write(txn)));
        }
        Ok(None)
    }

    /// Who owns the route; or what to do first.
    fn pair(&mut self) -> Result<Result<Pair, Command>, Reason> {
        let standing = |shard| self.view(shard).and_then(|view| view.standing(shard));
        let both = [self.source, self.target].map(standing);
        let leads = |s: &&Standing| matches!(s.fence.state, State::Open { .. } | State::Sealed { .. });
        let mut leading: Vec<&Standing> = both.iter().flatten().filter(leads).collect();
        leading.sort_by_key(|s| s.fence.n);
        let Some(owner) = leading.pop().cloned() else {
            let away = [self.source, self.target].into_iter().find(|s| self.view(*s).is_none());
            return match away {
                Some(shard) => Ok(Err(Command::Wait(Waiting::Unreachable(shard)))),
                None => self.puzzle(Reason::NoOwner).map(Err),
            };
        };
        let other = if owner.shard == self.source { self.target } else { self.source };
        let standby = both.into_iter().flatten().find(|s| s.shard == other);
        if let Some(standby) = &standby
            && (leads(&standby) || standby.fence.n > owner.fence.n)
        {
            // One of the two was read too early; or there is a shard from a backup.
            let (shard, n) = (owner.shard, owner.fence.n);
            return self.puzzle(Reason::Restored { shard, n }).map(Err);
        }
        let reachable = self.view(other).is_some();
        Ok(Ok(Pair { owner, other, standby, reachable }))
    }

    /// Reads again what makes no sense, a few times.
    fn puzzle(&mut self, reason: Reason) -> Result<Command, Reason> {
        if self.puzzled >= 2 {
            return Err(reason);
        }
        self.puzzled += 1;
        self.look_again();
        Ok(Command::Read(self.source))
    }

    /// The owner names no other shard.
    fn unlinked(&mut self, pair: &Pair) -> Result<Command, Reason> {
        self.switch = None;
        let end = match self.goal {
            Goal::Settle => return Ok(Command::Done(Outcome::Settled)),
            Goal::Complete { .. } => Outcome::Completed,
            Goal::Cancel { .. } => Outcome::Cancelled,
            _ if self.claimed => return Err(Reason::EndedElsewhere),
            Goal::Create(_) if pair.owner.shard != self.source => {
                return Err(Reason::NotOwner { owner: pair.owner.shard });
            }
            Goal::Create(_) => return self.claim(pair),
            Goal::Follow | Goal::Switch { .. } => return Err(Reason::NotClaimed),
        };
        // Something may be left of a migration that was abandoned, or ended by one who read too early.
        if let Some(command) = self.end_standby(pair)? {
            return Ok(command);
        }
        Ok(Command::Done(end))
    }

    pub(super) fn row(&self, txn: Result<Txn, rows::NotNow>) -> Result<Command, Reason> {
        Ok(Command::Write(txn?))
    }
}
