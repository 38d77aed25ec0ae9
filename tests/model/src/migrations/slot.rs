//! A driver, and the IO that it commands.

use std::sync::Arc;

use etcd_prism_ownership::migration::{
    Bound, Checkpoint, Command, CopyPoint, Counts, Driver, DriverClaim, Goal, Lists, Stream, Waiting,
};
use etcd_prism_ownership::txn::Write;
use etcd_prism_ownership::{ProxyId, ShardUid};

use super::lies::{sent, told};
use super::shard::{ROUTE, Shard};
use super::{Late, Variant};

/// What a driver is to do, one after the other.
#[derive(Debug, Clone)]
pub struct Script {
    pub source: usize,
    pub target: usize,
    pub goals: Vec<Goal>,
}

/// A driver with what its IO remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// `None` once it has ended.
    pub driver: Option<Driver>,
    /// Which of its goals it is at.
    pub goal: usize,
    /// Up to where this stream has been applied: epoch and raw revision.
    applied: Option<(i64, i64)>,
    /// Only kept where a broken rule uses it.
    remembered: Option<i64>,
}

impl Slot {
    pub(super) fn new(script: &Script, i: usize, goal: usize) -> Self {
        let goals = script.goals.get(goal).cloned();
        let driver = goals.map(|goal| driver(script, i, goal));
        Self { driver, goal, applied: None, remembered: None }
    }

    pub(super) fn settle(script: &Script, i: usize) -> Self {
        let driver = Some(driver(script, i, Goal::Settle));
        Self { driver, goal: script.goals.len(), applied: None, remembered: None }
    }

    /// The Txn or purge that is due, which may get lost on its way.
    pub(super) fn due(&self, variant: Variant) -> Option<Late> {
        match self.driver.clone()?.next() {
            Command::Write(txn) => Some(Late::Txn(sent(txn, self.remembered, variant))),
            Command::Purge(purge) => Some(Late::Purge(purge)),
            _ => None,
        }
    }

    /// Stops waiting for what is due: it may be handled later, or not.
    pub(super) fn lose(&mut self) {
        if let Some(driver) = &mut self.driver
            && let Command::Write(txn) = driver.next()
        {
            driver.answered(&txn, None);
        }
    }

    /// Does what is due, and what follows without asking anybody. `down` shards do not answer.
    pub(super) fn step(
        &mut self,
        script: &Script,
        shards: &mut [Arc<Shard>],
        down: &[bool],
        variant: Variant,
    ) {
        self.one(script, shards, down, variant);
        while self.driver.clone().is_some_and(|mut driver| self.is_local(&driver.next(), shards)) {
            let before = self.clone();
            self.one(script, shards, down, variant);
            if *self == before {
                break;
            }
        }
    }

    /// Whether it makes no difference when this is done.
    fn is_local(&self, command: &Command, shards: &[Arc<Shard>]) -> bool {
        let alone = shards.iter().all(|s| s.sessions.is_empty());
        match command {
            Command::Prove { .. }
            | Command::Demote { .. }
            | Command::Release { .. }
            | Command::Relocate { .. } => true,
            Command::ListFollowers { .. }
            | Command::ListSessions { .. }
            | Command::ReadRevision { .. }
            | Command::CatchUp { .. } => alone,
            _ => false,
        }
    }

    fn one(&mut self, script: &Script, shards: &mut [Arc<Shard>], down: &[bool], variant: Variant) {
        let Some(mut driver) = self.driver.take() else { return };
        let at = |shard: ShardUid| shard.0 as usize - 1;
        let command = driver.next();
        let stays = match command {
            Command::Read(shard) if down[at(shard)] => {
                driver.unreachable(shard);
                true
            }
            Command::Read(shard) => {
                driver.read(shard, told(at(shard), script, shards, variant));
                true
            }
            Command::Write(txn) => {
                let sent = sent(txn.clone(), self.remembered, variant);
                let peer_down = variant == Variant::AbortNeedsTarget && down[script.target];
                let abort = txn.puts.iter().any(|(_, w)| matches!(w, Write::Fence(f) if f.state.is_open()));
                let lost = down[at(txn.shard)] || (peer_down && abort);
                let shard = &mut shards[at(txn.shard)];
                let revision = if lost { None } else { Arc::make_mut(shard).handle(&sent, variant) };
                driver.answered(&txn, revision);
                true
            }
            Command::Purge(purge) => {
                if down[at(purge.shard)] || !Arc::make_mut(&mut shards[at(purge.shard)]).purge(purge.epoch) {
                    driver.refused();
                } else {
                    driver.purged(purge);
                }
                true
            }
            Command::Copy => {
                self.copy(&mut driver, shards, down);
                true
            }
            Command::ListFollowers { .. } => {
                if let Some(Stream { from, to, .. }) = driver.stream() {
                    if let Some(away) = [from, to].into_iter().find(|shard| down[at(*shard)]) {
                        driver.unreachable(away);
                    }
                    let list = |shard: ShardUid| shards[at(shard)].list(|ack| ack);
                    driver.listed(&Lists { owner: list(from), standby: list(to) });
                }
                true
            }
            Command::Prove { standby, epoch } => {
                if down[at(standby)] {
                    driver.unreachable(standby);
                } else {
                    driver.proved(epoch);
                }
                true
            }
            Command::ListSessions { shard, seal, .. } => {
                let mut list = shards[at(shard)].list(|ack| match variant {
                    Variant::AnyAcknowledgement if ack > 0 => seal,
                    _ => ack,
                });
                if matches!(variant, Variant::NotDrained | Variant::SealDeletes) {
                    list.sessions.clear();
                }
                if variant == Variant::EarlyG {
                    self.remembered.get_or_insert(shards[at(shard)].revision);
                }
                driver.drained(seal, &list);
                true
            }
            Command::ReadRevision { shard, seal } => {
                let raw = match variant {
                    Variant::EndsAtSeal => seal,
                    Variant::EarlyG => self.remembered.unwrap_or(seal),
                    _ => shards[at(shard)].revision,
                };
                if variant == Variant::RememberedG {
                    self.remembered.get_or_insert(raw);
                }
                driver.revision(seal, raw);
                true
            }
            Command::CatchUp { seal, raw } => {
                if variant == Variant::NotCaughtUp || self.flow(&mut driver, shards, down, variant) {
                    let since = settled(&driver, raw, shards, variant);
                    driver.caught_up(seal, raw, since);
                }
                true
            }
            Command::Probe { standby, seal, epoch } => {
                if down[at(standby)] {
                    driver.unreachable(standby);
                } else {
                    let view = told(at(standby), script, shards, variant);
                    let took = shards[at(standby)].epoch() == epoch;
                    driver.probed(standby, seal, epoch, took, view);
                }
                true
            }
            Command::Demote { .. } => {
                driver.demoted();
                true
            }
            Command::Release { .. } => {
                driver.released();
                true
            }
            Command::Relocate { .. } => {
                driver.relocated();
                true
            }
            Command::Wait(Waiting::Following { .. }) if self.goal + 1 < script.goals.len() => {
                self.goal += 1;
                driver.want(script.goals[self.goal].clone());
                true
            }
            Command::Wait(_) => {
                let changed = |i: usize| {
                    let view = if down[i] { None } else { Some(told(i, script, shards, variant)) };
                    !driver.has_seen(ShardUid(i as u128 + 1), view.as_ref())
                };
                if [script.source, script.target].into_iter().any(changed) {
                    driver.look_again();
                }
                true
            }
            Command::Done(_) if self.goal + 1 < script.goals.len() => {
                self.goal += 1;
                driver.want(script.goals[self.goal].clone());
                true
            }
            Command::Done(_) | Command::Stop(_) => false,
        };
        if stays {
            self.driver = Some(driver);
        } else {
            *self = Self { driver: None, goal: self.goal, applied: None, remembered: None };
        }
    }

    fn copy(&mut self, driver: &mut Driver, shards: &mut [Arc<Shard>], down: &[bool]) {
        let Some(Stream { from, to, epoch, reign, .. }) = driver.stream() else { return driver.refused() };
        let (from, to) = (from.0 as usize - 1, to.0 as usize - 1);
        if down[from] || down[to] {
            return driver.refused();
        }
        let (raw, value) = (shards[from].revision, shards[from].value);
        let mut last = shards[from].events.iter().rev();
        let at = last.next().map_or(0, |(raw, _)| *raw);
        if value.is_some() && !Arc::make_mut(&mut shards[to]).apply(epoch, at + reign.offset(), value) {
            return driver.refused();
        }
        let copy = CopyPoint { revision: raw, after: None, merge: false, done: true };
        let checkpoint = Checkpoint { reign: reign.n, copy, followed: 0, ..Checkpoint::default() };
        driver.progress(checkpoint, Counts::default());
    }

    /// Whether there is something to apply.
    pub(super) fn lags(&self, shards: &[Arc<Shard>], variant: Variant) -> bool {
        let stream = self.driver.as_ref().and_then(Driver::stream).filter(|s| s.copy.is_none());
        stream.is_some_and(|stream| {
            let from = &shards[stream.from.0 as usize - 1];
            let (after, limit) = self.span(&stream, from, variant);
            from.events.iter().any(|(raw, _)| *raw > after && *raw <= limit)
        })
    }

    fn span(&self, stream: &Stream, from: &Shard, variant: Variant) -> (i64, i64) {
        let after = match self.applied {
            Some((epoch, raw)) if epoch == stream.epoch => raw.max(stream.after),
            _ => stream.after,
        };
        let limit = match stream.bound {
            _ if variant == Variant::Unbounded => from.revision,
            Bound::None => from.revision,
            Bound::Stop => after,
            Bound::At(raw) => raw.min(from.revision),
        };
        (after, limit)
    }

    /// Applies what the stream allows. Returns whether it went through.
    pub(super) fn reconcile(&mut self, shards: &mut [Arc<Shard>], down: &[bool], variant: Variant) {
        if let Some(mut driver) = self.driver.take() {
            self.flow(&mut driver, shards, down, variant);
            self.driver = Some(driver);
        }
    }

    fn flow(
        &mut self,
        driver: &mut Driver,
        shards: &mut [Arc<Shard>],
        down: &[bool],
        variant: Variant,
    ) -> bool {
        let Some(stream) = driver.stream() else { return false };
        let (from, to) = (stream.from.0 as usize - 1, stream.to.0 as usize - 1);
        if let Some(away) = [from, to].into_iter().find(|shard| down[*shard]) {
            driver.unreachable(ShardUid(away as u128 + 1));
            return false;
        }
        let (after, limit) = self.span(&stream, &shards[from], variant);
        let events = shards[from].events.clone();
        for (raw, value) in events.into_iter().filter(|(raw, _)| *raw > after && *raw <= limit) {
            let at = raw + stream.reign.offset();
            if !Arc::make_mut(&mut shards[to]).apply(stream.epoch, at, value) {
                driver.refused();
                return false;
            }
            self.applied = Some((stream.epoch, raw));
        }
        true
    }
}

/// What had ended on the standby by itself is put again. Since when it holds what the owner has.
fn settled(driver: &Driver, raw: i64, shards: &mut [Arc<Shard>], variant: Variant) -> i64 {
    let Some(stream) = driver.stream() else { return 0 };
    let value = shards[stream.from.0 as usize - 1].at(raw);
    let standby = Arc::make_mut(&mut shards[stream.to.0 as usize - 1]);
    if standby.faded && !matches!(variant, Variant::NotCaughtUp | Variant::EndedUnnoticed) {
        standby.put(value);
    }
    if variant == Variant::BeginsWithTheFlip { 0 } else { standby.revision }
}

fn driver(script: &Script, i: usize, goal: Goal) -> Driver {
    let me = DriverClaim { proxy: ProxyId(i as u128), name: String::new() };
    let id = |shard: usize| ShardUid(shard as u128 + 1);
    Driver::new(me, ROUTE, id(script.source), id(script.target), goal)
}
