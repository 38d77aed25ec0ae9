//! A change of routes without data: other prefixes, other routes, another shard for keys that do not exist yet.
//!
//! The table on one shard, the arbiter, is the only place where a change is announced, given up or committed, each by a
//! Txn on the table's mod revision:
//!
//! 1. *claim*: the table names the change. Its mod revision is the claim, which everything that is prepared for the change
//!    carries.
//! 2. *prepare*: where a route begins, an `importing` fence; where a route loses or gets keys or ends, a `sealed` one.
//! 3. *drain*: on every shard with a seal, each session has acknowledged that very seal or has ended.
//! 4. *probe*: the keys that change shards exist on neither side.
//! 5. *commit*: the table becomes the new one. Until here, giving up is one Txn on the arbiter.
//! 6. *resolve*: each prepared fence becomes open, under the new table or (given up) as it was, or retired.
//!
//! A route that stays where it is but gets keys of another shard begins a new reign there: the record's floor tells whoever
//! watched these keys at the other shard to list again. The shard's own history knows nothing of what happened there.
//!
//! All old fences of the routes concerned are sealed before the commit and none opens before it, so no key ever has two
//! open fences, in whatever order they are resolved. Whether a claim was committed or given up never changes again, so a
//! driver that knows it late does no harm: each of its Txns is conditional on the fence that it saw. Anybody who runs the
//! same command again goes on from what is stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::Interval;
use crate::drain::{Drained, SessionList, drained};
use crate::facts::{Facts, Snapshot};
use crate::id::{ProxyId, ShardUid};
use crate::txn::Txn;
use crate::value::{Claim, Pending, State};

mod claimed;
mod decide;
mod plan;
mod reason;
mod resolve;

pub use plan::Plan;
pub use reason::Reason;

/// What the driver is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Goal {
    /// These shards and routes.
    Apply(Pending),
    /// Whatever change is under way and not committed ends.
    GiveUp,
}

/// Choices of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Options {
    /// Keys may go to a shard whose revision is below the one that clients have seen of them: they see revisions fall.
    pub lower_revisions: bool,
    /// Every proxy can serve a route whose reign is lifted (`virtual = raw + offset`), so a route that begins on a shard
    /// with lower revisions is no obstacle: its line goes on above what clients have seen.
    pub lifted_reigns: bool,
}

/// What to do next; one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Read table and fences of the shard in one linearizable Txn, then [`Driver::read`].
    Read(ShardUid),
    /// List the sessions of the shard linearizably, then [`Driver::listed`]. Again after a while, or after a change of the
    /// sessions, for as long as it is asked for; `waiting` names those that have not acknowledged.
    List { shard: ShardUid, waiting: Vec<(ProxyId, String)> },
    /// Look linearizably for a first key in the intervals, then [`Driver::probed`].
    Probe { claim: Claim, shard: ShardUid, intervals: Vec<Interval> },
    /// Then [`Driver::answered`].
    Write(Txn),
    /// Everything is as asked for, on every shard.
    Done { generation: u64 },
    /// Nothing of a change is left, and why that is so.
    Stopped(Reason),
}

/// The engine. It holds nothing that is not on the shards but what it has read of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Driver {
    /// Those that can be read and written.
    shards: BTreeSet<ShardUid>,
    goal: Goal,
    options: Options,
    facts: Facts,
    /// The change that this driver has seen under way: it works on that one, or ends that one, and on no later one.
    claim: Option<Claim>,
    /// Seals that every session has let go of: `(shard, route, mod revision)`, with the shard's revision by then.
    drained: BTreeMap<(ShardUid, String, i64), i64>,
    /// By shard, who has not acknowledged a seal there.
    waiting: BTreeMap<ShardUid, Vec<(ProxyId, String)>>,
    /// By the claim that they were made for (0: before any) and shard.
    probes: BTreeMap<(Claim, ShardUid), Probe>,
    given_up: Option<Reason>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Probe {
    revision: i64,
    found: Option<Vec<u8>>,
}

impl Driver {
    /// `shards` are those of the configuration, by the identities read from them.
    pub fn new(shards: BTreeSet<ShardUid>, goal: Goal, options: Options) -> Self {
        Self {
            shards,
            goal,
            options,
            facts: Facts::default(),
            claim: None,
            drained: BTreeMap::new(),
            waiting: BTreeMap::new(),
            probes: BTreeMap::new(),
            given_up: None,
        }
    }

    /// What is due.
    #[expect(
        clippy::should_implement_trait,
        reason = "it does not iterate: the same command is due until it is answered"
    )]
    pub fn next(&mut self) -> Command {
        match self.decide() {
            Ok(command) => command,
            Err(reason) => Command::Stopped(reason),
        }
    }

    pub fn read(&mut self, shard: ShardUid, snapshot: Snapshot) {
        self.facts.read(shard, snapshot);
        self.forget_arbiter(shard);
    }

    pub fn listed(&mut self, shard: ShardUid, list: &SessionList) {
        let mut waiting = Vec::new();
        for (at, route, revision, fence) in self.facts.fences() {
            if at != shard || !matches!(fence.state, State::Sealed { .. }) {
                continue;
            }
            match drained(list, route, revision) {
                Drained::Yes => {
                    self.drained.entry((shard, route.to_owned(), revision)).or_insert(list.revision);
                }
                Drained::TooOld => {}
                Drained::Waiting(who) => waiting.extend(who),
            }
        }
        waiting.sort();
        waiting.dedup();
        self.waiting.insert(shard, waiting);
    }

    /// `revision` is the reply's, `found` the first key if there is one.
    pub fn probed(&mut self, claim: Claim, shard: ShardUid, revision: i64, found: Option<Vec<u8>>) {
        self.probes.insert((claim, shard), Probe { revision, found });
    }

    /// The outcome of a Txn: its revision if it succeeded, `None` if it was refused or nobody knows.
    pub fn answered(&mut self, txn: &Txn, revision: Option<i64>) {
        match revision {
            Some(revision) => self.facts.written(txn, revision),
            None => {
                self.facts.forget(txn.shard);
                self.forget_arbiter(txn.shard);
            }
        }
    }

    /// The change is not to go on, because it takes too long for instance. After the commit this says nothing.
    pub fn give_up(&mut self, reason: Reason) {
        self.given_up.get_or_insert(reason);
    }

    /// What a fence was prepared for is looked up on the arbiter: it is read after the fences, so that it knows of every
    /// claim that they name.
    fn forget_arbiter(&mut self, than: ShardUid) {
        if let Some(arbiter) = self.arbiter()
            && arbiter != than
        {
            self.facts.forget(arbiter);
        }
    }

    /// The shard that the tables name as their arbiter.
    fn arbiter(&self) -> Option<ShardUid> {
        self.facts.tables().next().map(|(.., table)| table.arbiter)
    }

    /// A shard's name, as far as a table knows it.
    fn name(&self, shard: ShardUid) -> String {
        let goal = match &self.goal {
            Goal::Apply(goal) => &goal.shards[..],
            Goal::GiveUp => &[],
        };
        let stored = self.facts.tables().flat_map(|(.., table)| table.shards.iter());
        let named = goal.iter().chain(stored).find(|s| s.id == shard);
        named.map_or_else(|| shard.to_string(), |s| s.name.clone())
    }
}

#[cfg(test)]
mod tests;
