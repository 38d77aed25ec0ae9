//! Changes of routes: drivers that announce, seal, probe, commit and resolve, give up, crash and wake up late, while
//! proxies with the old and the new table write.
//!
//! Reads of a driver are answered at once; that it acts late on what it read is what every pause between its steps is.
//! Its Txns travel: they may be handled long after the driver has stopped waiting for them, or after its death.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_ownership::change::{Command, Driver, Goal, Options};
use etcd_prism_ownership::txn::Txn;
use etcd_prism_ownership::value::Table;
use stateright::{Model, Property};

mod properties;
mod proxy;
mod shard;
mod tables;

pub use properties::{FLOOR, FOREIGN, SETTLES, TWO_OPEN, VANISHED};
pub use proxy::Proxy;
pub use shard::Shard;
pub use tables::Tables;

/// Rules that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// As designed.
    Sound,
    /// 1, 30, 31: what was prepared for one claim counts for another.
    AnyClaim,
    /// 13, 35: seals delete the fence, and the epoch is its version, which begins at 1 again.
    EpochIsVersion,
    /// 24: what was probed before the seals counts after them.
    ProbedEarly,
    /// 25: fences do not say what the route owns.
    NoDefinition,
    /// 29: a driver that gives up reopens what is sealed without having ended the claim.
    ReopenedBlindly,
    /// The table is written without looking at its revision.
    BlindTable,
    /// A route that stays on its shard is opened again as it was, whatever keys it gets.
    NoFloor,
}

/// The model.
#[derive(Debug, Clone)]
pub struct Changes {
    pub variant: Variant,
    pub tables: Tables,
    /// One driver each.
    pub goals: Vec<Goal>,
    /// How many times a driver may stop waiting for a Txn, or crash and start anew.
    pub mishaps: u8,
    /// Whether there is a proxy with the old table, and one with the new. Each writes the key, once.
    pub writers: [bool; 2],
    /// Whether something may keep the change from being made.
    pub may_stay: bool,
}

/// A driver with what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    /// `None` once it has ended.
    driver: Option<Driver>,
    waiting: Option<Txn>,
}

/// Everything. Steps change little of it, so states share what stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    shards: [Arc<Shard>; 2],
    drivers: Vec<Arc<Slot>>,
    /// Txns that nobody waits for any more, and that may still be handled.
    late: Vec<Arc<Txn>>,
    proxies: Vec<Arc<Proxy>>,
    mishaps: u8,
    /// A write was applied under a fence that was not open for it.
    foreign: bool,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A driver does what is due.
    Step(usize),
    /// The Txn that a driver waits for is handled.
    Handle(usize),
    /// A driver stops waiting.
    GiveUpWaiting(usize),
    /// A driver is killed and started anew.
    Crash(usize),
    /// The command is run again, because something was left behind.
    RunAgain,
    HandleLate(usize),
    /// A proxy hears of the fences of a shard.
    Learn {
        proxy: usize,
        shard: usize,
    },
    /// A proxy sends its write; the shard handles it.
    Send(usize),
    Write(usize),
}

impl Model for Changes {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let tables = self.writers.into_iter().zip([&self.tables.old, &self.tables.new]);
        let slot = |goal: &Goal| Slot { driver: Some(self.driver(goal)), waiting: None };
        vec![World {
            shards: self.tables.begin().map(Arc::new),
            drivers: self.goals.iter().map(|goal| Arc::new(slot(goal))).collect(),
            late: Vec::new(),
            proxies: tables.filter(|(exists, _)| *exists).map(|(_, table)| self.proxy(table)).collect(),
            mishaps: 0,
            foreign: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        use Action as A;
        let mishap = world.mishaps < self.mishaps;
        for (i, slot) in world.drivers.iter().enumerate() {
            match &**slot {
                Slot { driver: None, .. } => {}
                Slot { waiting: None, .. } => actions.push(A::Step(i)),
                Slot { waiting: Some(_), .. } => {
                    actions.push(A::Handle(i));
                    if mishap {
                        actions.extend([A::GiveUpWaiting(i), A::Crash(i)]);
                    }
                }
            }
        }
        actions.extend((0..world.late.len()).map(A::HandleLate));
        if world.is_quiet() && !self.is_settled(world) {
            actions.push(A::RunAgain);
        }
        for (i, proxy) in world.proxies.iter().enumerate() {
            actions.extend((0..2).map(|shard| A::Learn { proxy: i, shard }));
            if proxy.can_send() {
                actions.push(A::Send(i));
            }
            if proxy.has_sent() {
                actions.push(A::Write(i));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let World { shards, drivers, late, proxies, mishaps, foreign } = &mut world;
        let mut handle = |txn: &Txn| {
            Arc::make_mut(&mut shards[self.tables.index(txn.shard)]).handle(txn, &self.tables, self.variant)
        };
        match action {
            Action::Step(i) => self.step(&mut world, i),
            Action::Handle(i) => {
                let slot = Arc::make_mut(&mut drivers[i]);
                let txn = slot.waiting.take()?;
                slot.driver.as_mut()?.answered(&txn, handle(&txn));
            }
            Action::GiveUpWaiting(i) => {
                let slot = Arc::make_mut(&mut drivers[i]);
                let txn = slot.waiting.take()?;
                slot.driver.as_mut()?.answered(&txn, None);
                late.push(Arc::new(txn));
                *mishaps += 1;
            }
            Action::Crash(i) => {
                let slot = Arc::make_mut(&mut drivers[i]);
                late.push(Arc::new(slot.waiting.take()?));
                slot.driver = Some(self.driver(&self.goals[i]));
                *mishaps += 1;
            }
            Action::RunAgain => Arc::make_mut(&mut drivers[0]).driver = Some(self.driver(&self.goals[0])),
            Action::HandleLate(i) => {
                handle(&late.remove(i));
            }
            Action::Learn { proxy, shard } => {
                Arc::make_mut(&mut proxies[proxy]).learn(shard, &shards[shard], self.variant);
            }
            Action::Send(i) => Arc::make_mut(&mut proxies[i]).send(shards, self.variant),
            Action::Write(i) => {
                *foreign |= Arc::make_mut(&mut proxies[i]).write(shards, &self.tables, self.variant);
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Changes {
    fn proxy(&self, table: &Table) -> Arc<Proxy> {
        Arc::new(Proxy::new(&self.tables, table))
    }

    fn driver(&self, goal: &Goal) -> Driver {
        // Revisions are not looked at in this world.
        let options = Options { lower_revisions: true, ..Options::default() };
        Driver::new(self.tables.ids().into(), goal.clone(), options)
    }

    fn step(&self, world: &mut World, i: usize) {
        let World { shards, drivers, proxies, .. } = world;
        let Slot { driver: slot, waiting } = Arc::make_mut(&mut drivers[i]);
        let Some(driver) = slot else { return };
        match driver.next() {
            Command::Read(shard) => {
                let blind = self.variant == Variant::ReopenedBlindly && self.goals[i] == Goal::GiveUp;
                let current = match self.variant {
                    Variant::AnyClaim => shards[0].pending(),
                    _ => None,
                };
                driver.read(shard, shards[self.tables.index(shard)].snapshot(blind, current));
            }
            Command::List { shard, .. } => {
                let at = self.tables.index(shard);
                let acks: Vec<BTreeMap<String, i64>> = proxies.iter().map(|p| p.acks(at)).collect();
                driver.listed(shard, &shards[at].sessions(acks));
            }
            Command::Probe { claim, shard, intervals } => {
                let at = &shards[self.tables.index(shard)];
                let early = self.variant == Variant::ProbedEarly && claim.0 != 0;
                let found = if early { None } else { at.find(&intervals) };
                driver.probed(claim, shard, at.revision, found);
            }
            Command::Write(txn) => *waiting = Some(txn),
            Command::Done { .. } | Command::Stopped(_) => *slot = None,
        }
    }
}
