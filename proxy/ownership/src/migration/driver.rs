//! The driver of a migration: what was read and what became of commands goes in, the next command comes out.

use std::sync::Arc;

use super::{Abort, Checkpoint, Counts, DriverClaim, Edit, Event, Options, Reason, Record, View, Want};
use crate::definition::DefinitionHash;
use crate::id::{ProxyId, ShardUid};
use crate::timeline::Reign;
use crate::value::State;

mod claimed;
mod command;
mod decide;
mod event;
mod stream;
mod switch;

pub use command::{Command, Goal, Lists, Outcome, Purge, Waiting};
pub use stream::{Bound, Stream};

/// What is known of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Seen {
    Unread,
    Unreachable,
    View(Box<View>),
}

/// A switch that this driver has begun.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Switch {
    /// The shard that was sealed.
    owner: ShardUid,
    /// The mod revision of its seal.
    seal: i64,
    drained: bool,
    /// Of the owner, once drained.
    raw: Option<i64>,
    /// Raw, of the standby: what it held there is what the owner holds at `raw`.
    caught_up: Option<i64>,
    probed: bool,
    decided: bool,
    /// When it was sealed and, once it is, opened again, here or there.
    since: i64,
    opened: Option<i64>,
}

impl Switch {
    fn new(owner: ShardUid, seal: i64, since: i64) -> Self {
        let (drained, probed, decided) = (false, false, false);
        Self { owner, seal, drained, raw: None, caught_up: None, probed, decided, since, opened: None }
    }

    /// In milliseconds, as far as the clock was told.
    fn pause(&self) -> Option<u64> {
        self.opened.and_then(|opened| u64::try_from(opened.saturating_sub(self.since)).ok())
    }
}

/// The engine. It holds nothing that is not on the shards but what it has read of them, and what it knows of its own
/// switch: worth nothing once the seal has another mod revision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Driver {
    me: DriverClaim,
    route: Arc<str>,
    source: ShardUid,
    target: ShardUid,
    goal: Goal,
    /// What this proxy takes the route to own.
    definition: Option<DefinitionHash>,
    /// In milliseconds since the epoch; for the record.
    now: i64,
    seen: [Seen; 2],
    /// How often in a row no owner was found.
    puzzled: u8,
    /// The migration was seen to exist.
    claimed: bool,
    /// The epoch of the standby that this driver's own Txn made. Never read from a shard.
    held: Option<(ShardUid, i64)>,
    /// Every proxy follows under this epoch.
    followed: Option<i64>,
    proved: Option<i64>,
    waiting: Vec<(ProxyId, String)>,
    purged: Option<Purge>,
    /// Of the leases on the standby that ends.
    demoted: bool,
    released: bool,
    relocated: bool,
    switch: Option<Switch>,
    given_up: Option<Abort>,
    aborted: Option<Abort>,
    /// To be stored.
    progress: Option<(Checkpoint, Counts)>,
    /// What the operator wants the record to say.
    edit: Edit,
    /// What was applied under this epoch is worth nothing any more.
    restart: Option<i64>,
    /// A purge was followed by this epoch of the standby.
    cleared: Option<i64>,
    /// To be added to the record's history.
    notes: Vec<Event>,
    stop: Option<Reason>,
}

impl Driver {
    /// `me` is this proxy. `source` and `target` are as in the record, whoever owns the route by now.
    pub fn new(me: DriverClaim, route: &str, source: ShardUid, target: ShardUid, goal: Goal) -> Self {
        Self {
            me,
            route: route.into(),
            source,
            target,
            goal,
            definition: None,
            now: 0,
            seen: [Seen::Unread, Seen::Unread],
            puzzled: 0,
            claimed: false,
            held: None,
            followed: None,
            proved: None,
            waiting: Vec::new(),
            purged: None,
            demoted: false,
            released: false,
            relocated: false,
            switch: None,
            given_up: None,
            aborted: None,
            progress: None,
            edit: Edit::default(),
            restart: None,
            cleared: None,
            notes: Vec::new(),
            stop: None,
        }
    }

    /// It copies and deletes what this definition says, so it does nothing while the owner's fence has another one.
    #[must_use]
    pub fn of(mut self, definition: DefinitionHash) -> Self {
        self.definition = Some(definition);
        self
    }

    /// The goal of a driver that takes over.
    pub fn resume(record: &Record) -> Goal {
        match record.want {
            Want::Follow => Goal::Follow,
            Want::Complete => Goal::Complete { abandon: false },
            Want::Cancel => Goal::Cancel { abandon: false },
        }
    }

    /// What is due.
    #[expect(
        clippy::should_implement_trait,
        reason = "it does not iterate: the same command is due until it is answered"
    )]
    pub fn next(&mut self) -> Command {
        if let Some(reason) = &self.stop {
            return Command::Stop(reason.clone());
        }
        match self.decide() {
            Ok(command) => command,
            Err(reason) => {
                self.stop = Some(reason.clone());
                Command::Stop(reason)
            }
        }
    }

    /// The time, in milliseconds since the epoch. Nothing depends on it but what the record says.
    pub fn clock(&mut self, now: i64) {
        self.now = now;
    }

    /// Something else is wanted from now on.
    pub fn want(&mut self, goal: Goal) {
        if goal != self.goal {
            self.goal = goal;
            self.given_up = None;
            self.aborted = None;
            self.proved = None;
        }
    }

    /// The record as last read or written.
    pub fn stored(&self) -> Option<&Record> {
        self.record().map(|(_, record)| record)
    }

    /// What was read of a shard; `None`: nothing, or it could not be reached.
    pub fn seen(&self, shard: ShardUid) -> Option<&View> {
        self.view(shard)
    }

    /// What it works towards.
    pub fn goal(&self) -> &Goal {
        &self.goal
    }

    fn slot(&mut self, shard: ShardUid) -> Option<&mut Seen> {
        match shard {
            s if s == self.source => self.seen.first_mut(),
            s if s == self.target => self.seen.last_mut(),
            _ => None,
        }
    }

    fn set(&mut self, shard: ShardUid, seen: Seen) {
        if let Some(slot) = self.slot(shard) {
            *slot = seen;
        }
    }

    fn view(&self, shard: ShardUid) -> Option<&View> {
        let seen = if shard == self.source { &self.seen[0] } else { &self.seen[1] };
        match seen {
            Seen::View(view) => Some(view),
            _ => None,
        }
    }

    /// The owner's reign, with the floor that proxies keep to in it.
    fn reign(&self, owner: ShardUid, n: u64) -> Result<(Reign, i64), Reason> {
        let found = self.view(owner).and_then(|view| view.reign(n));
        found.ok_or(Reason::ReignMissing { shard: owner, n })
    }

    /// The line up to the owner's reign.
    fn line(&self, owner: ShardUid, n: u64) -> Result<Vec<Reign>, Reason> {
        let found = self.view(owner).and_then(|view| view.line(n));
        found.ok_or(Reason::ReignMissing { shard: owner, n })
    }

    /// The record with its mod revision; `None` if there is none that can be read.
    fn record(&self) -> Option<(i64, &Record)> {
        self.view(self.target)?.record()
    }
}
