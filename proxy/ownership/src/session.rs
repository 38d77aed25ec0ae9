//! The session engine of one proxy at one shard: the lease that says "this proxy may be serving reads", and until when.
//!
//! Times are nanoseconds on a clock that counts suspended time (`CLOCK_BOOTTIME`), given by the caller. The one assumption
//! about clocks: from the sending of an acknowledged renewal on, the shard's lease clock does not run ahead of ours by more
//! than the margin within one TTL.

use std::collections::BTreeMap;

use crate::route::{Following, RouteEngine, Seal};

/// A lease of ours, with what its deadline is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Held {
    lease: i64,
    /// When the last acknowledged grant or renewal was sent.
    sent: u64,
    /// From then on.
    ttl: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Stage {
    /// The session key is not written.
    Granted,
    /// It is; the fences have not been read since.
    Registered,
    /// They have been; table and identity have not been compared since.
    FencesRead,
    Serving,
}

/// What is due, beside renewals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask for a lease, then [`Session::granted`].
    Grant,
    /// Put the session key with this lease and these acknowledgements, if its mod revision is `mod_revision` (0: absent).
    /// Then [`Session::written`] or [`Session::refused`].
    Put { lease: i64, mod_revision: i64, acks: Acks },
    /// Read every fence of the shard linearizably and tell the route engines, then [`Session::fences_read`].
    ReadFences(Turn),
    /// Compare identity and table, then [`Session::checked`].
    Check(Turn),
    /// Nothing.
    Settled,
}

/// The lease under which a step was begun: what was begun under an earlier one does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Turn(i64);

/// By route, the mod revision of the seal that is acknowledged.
pub type Acks = BTreeMap<String, i64>;

/// The engine. See [`Self::step`] for what is to be done and [`Self::may_release`] for what it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Session {
    margin: u64,
    held: Option<(Held, Stage)>,
    acks: Acks,
    /// What the session key holds, if it is ours under the present lease.
    written: Option<Acks>,
    /// The session key's mod revision as last heard. Every put is conditional on it: one that was delayed must not hang
    /// the key on an older lease, with which it would vanish while the session stands.
    mod_revision: i64,
}

impl Session {
    /// `margin`, in nanoseconds, is taken off every TTL.
    pub fn new(margin: u64) -> Self {
        Self { margin, held: None, acks: Acks::new(), written: None, mod_revision: 0 }
    }

    /// What is due now. One step at a time; tell the outcome, or ask again after a failure.
    pub fn step(&self) -> Step {
        let Some((held, stage)) = self.held else { return Step::Grant };
        let Held { lease, .. } = held;
        if stage == Stage::Granted || self.written.as_ref() != Some(&self.acks) {
            return Step::Put { lease, mod_revision: self.mod_revision, acks: self.acks.clone() };
        }
        match stage {
            Stage::Registered => Step::ReadFences(Turn(lease)),
            Stage::FencesRead => Step::Check(Turn(lease)),
            Stage::Granted | Stage::Serving => Step::Settled,
        }
    }

    /// The lease to renew and from when on, in nanoseconds: a third of the TTL after the last acknowledged one was sent.
    pub fn renewal(&self) -> Option<(i64, u64)> {
        self.held.map(|(held, _)| (held.lease, held.sent.saturating_add(held.ttl / 3)))
    }

    /// A lease was granted; the request was sent at `sent`. A lease from before is forgotten.
    pub fn granted(&mut self, lease: i64, sent: u64, ttl: u64) {
        self.held = Some((Held { lease, sent, ttl }, Stage::Granted));
        self.written = None;
    }

    /// A renewal was acknowledged; the request was sent at `sent`. A TTL of 0: the lease has ended.
    pub fn renewed(&mut self, lease: i64, sent: u64, ttl: u64) {
        let Some((held, _)) = &mut self.held else { return };
        if held.lease != lease {
            return;
        }
        if ttl == 0 {
            self.lost();
        } else if sent >= held.sent {
            (held.sent, held.ttl) = (sent, ttl);
        }
    }

    /// The session key was written with this lease and these acknowledgements, and has this mod revision now.
    pub fn written(&mut self, lease: i64, mod_revision: i64, acks: Acks) {
        self.mod_revision = self.mod_revision.max(mod_revision);
        if let Some((held, stage)) = &mut self.held
            && held.lease == lease
        {
            *stage = (*stage).max(Stage::Registered);
            self.written = Some(acks);
        }
    }

    /// The session key was not written: its mod revision was `found` (0: absent).
    pub fn refused(&mut self, found: i64) {
        // Somebody removed it while it stood: a driver may have counted us as gone.
        if self.written.is_some() && found == 0 {
            self.lost();
        }
        self.mod_revision = found;
    }

    /// Every fence of the shard was read, the read begun in this turn, and the route engines have been told.
    pub fn fences_read(&mut self, turn: Turn) {
        self.reach(turn, Stage::Registered, Stage::FencesRead);
    }

    /// Identity and table were compared, and the route engines have been told.
    pub fn checked(&mut self, turn: Turn) {
        self.reach(turn, Stage::FencesRead, Stage::Serving);
    }

    /// The lease or the session key is gone, or may be: everything begins anew.
    pub fn lost(&mut self) {
        self.held = None;
        self.written = None;
    }

    /// Puts the acknowledgement of a seal into the session's value. A seal exists only where the route engine has let go of
    /// every older epoch; whoever keeps copies of its generation must have raised them before this call.
    pub fn acknowledge(&mut self, seal: &Seal) {
        let ack = self.acks.entry(seal.route().to_owned()).or_default();
        *ack = (*ack).max(seal.revision());
    }

    /// Puts into the session's value that the proxy applies what it commits on the owner here, under this epoch.
    pub fn follow(&mut self, following: &Following) {
        let ack = self.acks.entry(following.route().to_owned()).or_default();
        *ack = (*ack).max(following.revision());
    }

    /// Until when reads may be released, in nanoseconds; `None` while the session does not count.
    pub fn deadline(&self) -> Option<u64> {
        match self.held {
            Some((held, Stage::Serving)) => {
                Some(held.sent.saturating_add(held.ttl.saturating_sub(self.margin)))
            }
            _ => None,
        }
    }

    /// Whether an unfenced answer, event or progress of the shard may be passed on. `now` must have been read after it
    /// arrived: whatever had arrived while the session stood was made before anybody counted the proxy as gone.
    pub fn may_release(&self, now: u64) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// The present lease; clients neither see nor revoke it.
    pub fn lease(&self) -> Option<i64> {
        self.held.map(|(held, _)| held.lease)
    }

    fn reach(&mut self, turn: Turn, from: Stage, to: Stage) {
        if let Some((held, stage)) = &mut self.held
            && Turn(held.lease) == turn
            && *stage == from
        {
            *stage = to;
        }
    }
}

/// Whether an unfenced answer, event or progress may be passed on that was asked for when the route had the generation
/// `asked`. `now` must have been read after it arrived.
pub fn may_release(session: &Session, route: &RouteEngine, asked: u64, now: u64) -> bool {
    route.permit().is_some() && route.generation() == asked && session.may_release(now)
}

#[cfg(test)]
mod tests;
