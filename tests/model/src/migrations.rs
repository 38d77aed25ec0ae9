//! Migrations: drivers that import, purge, copy, seal, decide, flip, go back, end, crash and sleep; proxies that write under
//! old epochs and read under sessions; a watcher that goes from proxy to proxy; shards that are away.
//!
//! A driver reads one shard at a time and acts on it whenever it likes, so all it knows may be old. What it sends may get
//! lost on its way and be handled any time later, also after its death, as often as it still succeeds.

use std::sync::Arc;

use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::migration::{Abort, Goal, Options, Purge};
use etcd_prism_ownership::txn::Txn;
use stateright::{Model, Property};

mod lies;
mod line;
mod properties;
mod proxy;
mod shard;
mod slot;
mod variant;
mod world;

pub use properties::{ABOVE, COPY, FOREIGN, LINE, LOST, STALE, TWO_OPEN, WATCH};
pub use proxy::Proxy;
pub use shard::{Shard, Value};
pub use slot::{Script, Slot};
pub use variant::Variant;
pub use world::World;
use world::Wrong;

/// The model.
#[derive(Debug, Clone)]
pub struct Migrations {
    pub variant: Variant,
    /// Raw revisions to begin with. The first shard owns the route.
    pub revisions: Vec<i64>,
    /// One driver each.
    pub scripts: Vec<Script>,
    pub proxies: usize,
    /// How many values the clients write.
    pub writes: u8,
    pub budget: Budget,
    /// Shards that may be away.
    pub fragile: Vec<usize>,
    /// What is left of an earlier attempt on the second shard.
    pub leftover: bool,
    /// Begins where the first driver follows, and every proxy knows.
    pub prepared: bool,
}

/// How often things may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Budget {
    /// A driver is killed and started anew.
    pub crashes: u8,
    /// A driver stops waiting for what it has sent.
    pub losses: u8,
    /// The same, of a page of a purge.
    pub pages: u8,
    /// A shard goes away.
    pub outages: u8,
    /// A key expires.
    pub expiries: u8,
    /// A key ends on a shard that does not rule: its lease was not renewed there.
    pub fades: u8,
    /// A proxy's sessions end.
    pub naps: u8,
    /// The owner's raw revision moves on for other reasons.
    pub ticks: u8,
    /// An operator, or a clock, ends a switch.
    pub aborts: u8,
}

/// On its way, and nobody waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Late {
    Txn(Txn),
    Purge(Purge),
    Apply { to: usize, epoch: i64, at: i64, value: Value },
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A driver does what is due.
    Step(usize),
    /// A driver's stream applies what there is.
    Reconcile(usize),
    /// What a driver sends is delayed.
    Lose(usize),
    /// A driver is killed and started anew.
    Crash(usize),
    /// A driver is told to end its switch.
    Abort(usize),
    /// Nobody drives and something is sealed or flipping: somebody brings it to rest.
    Settle,
    HandleLate(usize),
    Down(usize),
    Up(usize),
    Expire(usize),
    /// A key ends where nobody rules.
    Fade(usize),
    Tick,
    Learn {
        proxy: usize,
        shard: usize,
    },
    Nap(usize),
    Register {
        proxy: usize,
        shard: usize,
    },
    Write(usize),
    /// The watcher catches up at a proxy.
    Watch(usize),
}

impl Model for Migrations {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let shard = |(i, revision): (usize, &i64)| {
            let mut shard = Shard::new(ShardUid(i as u128 + 1), *revision, self.proxies);
            if i == 1 && self.leftover {
                shard.put(Some(99));
            }
            Arc::new(if i == 0 { shard.owned() } else { shard })
        };
        let mut shards: Vec<Arc<Shard>> = self.revisions.iter().enumerate().map(shard).collect();
        let mut world = World {
            proxies: (0..self.proxies).map(|i| Arc::new(Proxy::new(i, &mut shards))).collect(),
            slots: self.scripts.iter().enumerate().map(|(i, s)| Arc::new(Slot::new(s, i, 0))).collect(),
            late: Vec::new(),
            down: vec![false; shards.len()],
            shards,
            left: self.budget,
            written: 0,
            shown: 0,
            wrong: Wrong::default(),
        };
        let mut before = None;
        while self.prepared && world.slots[0].goal == 0 && before.as_ref() != Some(&world) {
            before = Some(world.clone());
            self.act(&mut world, Action::Step(0));
            for (proxy, shard) in (0..self.proxies).flat_map(|p| [(p, 0), (p, 1)]) {
                self.act(&mut world, Action::Learn { proxy, shard });
            }
        }
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        use Action as A;
        let left = &world.left;
        for (i, slot) in world.slots.iter().enumerate().filter(|(_, slot)| slot.driver.is_some()) {
            actions.push(A::Step(i));
            let page = left.pages > 0 && matches!(slot.due(self.variant), Some(Late::Purge(_)));
            if left.losses > 0 || page {
                actions.push(A::Lose(i));
            }
            if left.crashes > 0 {
                actions.push(A::Crash(i));
            }
            if left.aborts > 0 && slot.driver.as_ref().is_some_and(|d| d.sealed().is_some()) {
                actions.push(A::Abort(i));
            }
            if self.writes > 0 && slot.lags(&world.shards, self.variant) {
                actions.push(A::Reconcile(i));
            }
        }
        if world.is_left_behind() {
            actions.push(A::Settle);
        }
        actions.extend((0..world.late.len()).map(A::HandleLate));
        for shard in self.fragile.iter().copied() {
            if world.down[shard] {
                actions.push(A::Up(shard));
            } else if left.outages > 0 {
                actions.push(A::Down(shard));
            }
        }
        // Before, it makes no difference to anybody.
        let moving = world.shards.iter().any(|s| s.is_moving());
        for (i, shard) in world.shards.iter().enumerate() {
            if left.expiries > 0 && moving && shard.value.is_some() && world.rules(i) {
                actions.push(A::Expire(i));
            }
            if left.fades > 0 && shard.value.is_some() && !world.rules(i) && world.is_granted(i) {
                actions.push(A::Fade(i));
            }
            for proxy in 0..self.proxies {
                let fits = shard.sessions[proxy].is_some();
                actions.push(if fits {
                    A::Learn { proxy, shard: i }
                } else {
                    A::Register { proxy, shard: i }
                });
            }
        }
        if left.ticks > 0 && moving {
            actions.push(A::Tick);
        }
        for proxy in 0..self.proxies {
            if left.naps > 0 && moving && world.shards[0].sessions[proxy].is_some() {
                actions.push(A::Nap(proxy));
            }
            if world.written < self.writes && world.may_write(proxy) {
                actions.push(A::Write(proxy));
            }
            if moving || world.reigns().len() > 1 {
                actions.push(A::Watch(proxy));
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let begun = world.reigns().len();
        self.act(&mut world, action);
        if world.reigns().len() > begun {
            world.check_flip();
        }
        world.forget(self.variant);
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The second shard, and the third.
pub const B: usize = 1;
pub const C: usize = 2;

/// The goal of a driver that begins.
pub fn create() -> Goal {
    Goal::Create(Options::default())
}

/// The goal of a driver that switches to a shard.
pub fn to(shard: usize) -> Goal {
    Goal::Switch { to: ShardUid(shard as u128 + 1) }
}

impl Migrations {
    /// Two shards and no clients: the protocol alone. A driver for each list of goals.
    pub fn bare(variant: Variant, goals: &[&[Goal]], budget: Budget) -> Self {
        let script = |goals: &&[Goal]| Script { source: 0, target: B, goals: goals.to_vec() };
        Self {
            variant,
            revisions: vec![9, 2],
            scripts: goals.iter().map(script).collect(),
            proxies: 0,
            writes: 0,
            budget,
            fragile: Vec::new(),
            leftover: false,
            prepared: false,
        }
    }

    /// Whether somebody wants another shard to rule.
    fn switches(&self) -> bool {
        let switches = |goal: &Goal| matches!(goal, Goal::Switch { to } if *to != ShardUid(1));
        self.scripts.iter().any(|script| script.goals.iter().any(switches))
    }

    fn act(&self, world: &mut World, action: Action) {
        let variant = self.variant;
        let World { shards, slots, late, proxies, down, left, .. } = world;
        match action {
            Action::Step(i) => Arc::make_mut(&mut slots[i]).step(&self.scripts[i], shards, down, variant),
            Action::Reconcile(i) => Arc::make_mut(&mut slots[i]).reconcile(shards, down, variant),
            Action::Lose(i) => {
                if let Some(due) = slots[i].due(variant) {
                    Arc::make_mut(&mut slots[i]).lose();
                    let page = left.pages > 0 && matches!(due, Late::Purge(_));
                    late.push(Arc::new(due));
                    *(if page { &mut left.pages } else { &mut left.losses }) -= 1;
                }
            }
            Action::Crash(i) => {
                slots[i] = Arc::new(Slot::new(&self.scripts[i], i, slots[i].goal));
                left.crashes -= 1;
            }
            Action::Abort(i) => {
                if let Some(driver) = &mut Arc::make_mut(&mut slots[i]).driver {
                    driver.give_up(Abort::Asked);
                    left.aborts -= 1;
                }
            }
            Action::Settle => {
                let i = world.behind().unwrap_or_default();
                world.slots[i] = Arc::new(Slot::settle(&self.scripts[i], i));
            }
            Action::HandleLate(i) => {
                let due = late[i].clone();
                match &*due {
                    Late::Txn(txn) => {
                        let at = txn.shard.0 as usize - 1;
                        if !down[at] {
                            Arc::make_mut(&mut shards[at]).handle(txn, variant);
                        }
                    }
                    Late::Purge(purge) => {
                        let at = purge.shard.0 as usize - 1;
                        if !down[at] {
                            Arc::make_mut(&mut shards[at]).purge(purge.epoch);
                            late.remove(i);
                        }
                    }
                    Late::Apply { to, epoch, at, value } => {
                        if !down[*to] {
                            Arc::make_mut(&mut shards[*to]).apply(*epoch, *at, *value);
                        }
                    }
                }
            }
            Action::Down(i) => {
                down[i] = true;
                left.outages -= 1;
            }
            Action::Up(i) => down[i] = false,
            Action::Expire(i) => {
                Arc::make_mut(&mut shards[i]).put(None);
                left.expiries -= 1;
            }
            Action::Fade(i) => {
                Arc::make_mut(&mut shards[i]).fade();
                left.fades -= 1;
            }
            Action::Tick => {
                Arc::make_mut(&mut shards[0]).revision += 1;
                left.ticks -= 1;
            }
            Action::Learn { proxy, shard } => {
                if !down[shard] {
                    Arc::make_mut(&mut proxies[proxy]).learn(shard, shards);
                }
            }
            Action::Nap(proxy) => {
                shards.iter_mut().for_each(|s| Arc::make_mut(s).sessions[proxy] = None);
                left.naps -= 1;
            }
            Action::Register { proxy, shard } => {
                if !down[shard] {
                    Arc::make_mut(&mut shards[shard]).sessions[proxy] = Some(0);
                    Arc::make_mut(&mut proxies[proxy]).learn(shard, shards);
                }
            }
            Action::Write(proxy) => world.write(proxy),
            Action::Watch(proxy) => world.watch(proxy, variant),
        }
    }
}
