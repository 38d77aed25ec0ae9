//! First start: proxies that find no fences, with the same table or with different ones, on shards that may hold keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_ownership::facts::Snapshot;
use etcd_prism_ownership::first::{Command, FirstStart};
use etcd_prism_ownership::keys::{self, Key};
use etcd_prism_ownership::txn::{Txn, Write};
use etcd_prism_ownership::value::{Table, TableShard};
use etcd_prism_ownership::{ClusterId, Fence, ShardUid};
use etcd_prism_routing::{RouteSpec, ShardId};
use stateright::{Model, Property};

/// Rules that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// As designed.
    Sound,
    /// 24: nobody looks whether other shards hold keys of the route.
    NoProbe,
    /// 41: proxies agree on nothing before they probe.
    NoTable,
    /// 41: the table is claimed on home alone, which each proxy's own table names.
    HomeOnly,
}

/// The model. Shards are numbers.
#[derive(Debug, Clone)]
pub struct First {
    pub variant: Variant,
    /// One for each proxy: the shard of `f`, and of everything else.
    pub tables: Vec<(u16, u16)>,
    /// Where a key of `f` lies.
    pub key: Option<usize>,
    /// How many times a proxy may stop waiting for a Txn, or be killed.
    pub mishaps: u8,
}

const SHARDS: usize = 2;
const KEY: &[u8] = b"/f/x";

/// A shard: its revision, its table, its fences with their mod revisions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shard {
    revision: i64,
    table: Option<(i64, Table)>,
    fences: BTreeMap<String, (i64, Fence)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Slot {
    /// `None` once it has ended.
    first: Option<FirstStart>,
    waiting: Option<Txn>,
}

/// Everything. Steps change little of it, so states share what stays.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    shards: [Arc<Shard>; SHARDS],
    proxies: Vec<Arc<Slot>>,
    late: Vec<Arc<Txn>>,
    mishaps: u8,
}

/// One step. The numbers are proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Step(usize),
    Handle(usize),
    GiveUpWaiting(usize),
    Restart(usize),
    HandleLate(usize),
}

/// No route has two fences that are open.
pub const TWO_OPEN: &str = "no route has two open fences";
/// No fence is opened on one shard while another holds keys of its route.
pub const VANISHED: &str = "no key vanishes";

impl Model for First {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let shard = || Arc::new(Shard { revision: 1, table: None, fences: BTreeMap::new() });
        let slot = |i| Arc::new(Slot { first: Some(FirstStart::new(self.table(i))), waiting: None });
        vec![World {
            shards: [shard(), shard()],
            proxies: (0..self.tables.len()).map(slot).collect(),
            late: Vec::new(),
            mishaps: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (i, slot) in world.proxies.iter().enumerate() {
            match &**slot {
                Slot { first: None, .. } => {}
                Slot { waiting: None, .. } => actions.push(Action::Step(i)),
                Slot { waiting: Some(_), .. } => {
                    actions.push(Action::Handle(i));
                    if world.mishaps < self.mishaps {
                        actions.extend([Action::GiveUpWaiting(i), Action::Restart(i)]);
                    }
                }
            }
        }
        actions.extend((0..world.late.len()).map(Action::HandleLate));
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let World { shards, proxies, late, mishaps } = &mut world;
        let mut handle = |txn: &Txn| Arc::make_mut(&mut shards[index(txn.shard)]).handle(txn);
        match action {
            Action::Step(i) => self.step(&mut world, i),
            Action::Handle(i) => {
                let slot = Arc::make_mut(&mut proxies[i]);
                let txn = slot.waiting.take()?;
                slot.first.as_mut()?.answered(&txn, handle(&txn));
            }
            Action::GiveUpWaiting(i) => {
                let slot = Arc::make_mut(&mut proxies[i]);
                let txn = slot.waiting.take()?;
                slot.first.as_mut()?.answered(&txn, None);
                late.push(Arc::new(txn));
                *mishaps += 1;
            }
            Action::Restart(i) => {
                let slot = Arc::make_mut(&mut proxies[i]);
                late.push(Arc::new(slot.waiting.take()?));
                slot.first = Some(FirstStart::new(self.table(i)));
                *mishaps += 1;
            }
            Action::HandleLate(i) => {
                handle(&late.remove(i));
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(TWO_OPEN, |_, world: &World| {
                ["f", "rest"].iter().all(|route| world.open(route).count() <= 1)
            }),
            Property::always(VANISHED, |model: &Self, world: &World| {
                world.open("f").all(|shard| model.key.is_none_or(|key| key == shard))
            }),
            Property::eventually("everybody comes to an end", |_, world: &World| {
                world.proxies.iter().all(|slot| slot.first.is_none())
            }),
            Property::sometimes("both routes are open", |model: &Self, world: &World| {
                model.key_is_elsewhere() || ["f", "rest"].iter().all(|route| world.open(route).count() == 1)
            }),
            Property::sometimes("the other route is open", |_, world: &World| {
                world.open("rest").count() == 1
            }),
        ]
    }
}

impl First {
    /// Whether no table puts `f` where its key lies.
    fn key_is_elsewhere(&self) -> bool {
        self.key.is_some_and(|key| self.tables.iter().all(|(f, _)| usize::from(*f) != key))
    }

    fn table(&self, i: usize) -> Table {
        let (f, rest) = self.tables[i];
        let shard = |i: u64| {
            let id = ShardUid(u128::from(i));
            TableShard { name: format!("s{i}"), id, cluster_id: ClusterId(i) }
        };
        let specs = [
            RouteSpec { name: "f".into(), prefixes: vec![b"/f/".to_vec()], shard: ShardId(f) },
            RouteSpec { name: "rest".into(), prefixes: vec![], shard: ShardId(rest) },
        ];
        Table::first((0..SHARDS as u64).map(shard).collect(), &specs).unwrap()
    }

    /// Whether a broken proxy neither looks at the table on a shard nor claims it there.
    fn skips(&self, i: usize, shard: ShardUid) -> bool {
        match self.variant {
            Variant::NoTable => true,
            Variant::HomeOnly => shard != self.table(i).arbiter,
            Variant::Sound | Variant::NoProbe => false,
        }
    }

    fn step(&self, world: &mut World, i: usize) {
        let World { shards, proxies, .. } = world;
        let Slot { first: slot, waiting } = Arc::make_mut(&mut proxies[i]);
        let Some(first) = slot else { return };
        match first.next() {
            Command::Read(shard) => {
                let at = index(shard);
                let mut snapshot = shards[at].snapshot();
                if self.skips(i, shard) {
                    snapshot.table = None;
                }
                first.read(shard, snapshot);
            }
            Command::Probe { shard, route, intervals } => {
                let inside = intervals.iter().any(|(start, end)| &**start <= KEY && KEY < &**end);
                let found = self.key == Some(index(shard)) && inside && self.variant != Variant::NoProbe;
                first.probed(shard, &route, found.then(|| KEY.to_vec()));
            }
            // A broken proxy takes it for done.
            Command::Write(txn)
                if self.skips(i, txn.shard) && matches!(txn.puts[..], [(_, Write::Table(_))]) =>
            {
                first.answered(&txn, Some(1));
            }
            Command::Write(txn) => *waiting = Some(txn),
            Command::Done(_) | Command::Refuse(_) => *slot = None,
        }
    }
}

impl World {
    /// The shards on which a route is open.
    fn open<'a>(&'a self, route: &'a str) -> impl Iterator<Item = usize> + 'a {
        let open = move |shard: &Shard| shard.fences.get(route).is_some_and(|(_, f)| f.state.is_open());
        self.shards.iter().enumerate().filter(move |(_, s)| open(s)).map(|(i, _)| i)
    }
}

impl Shard {
    fn handle(&mut self, txn: &Txn) -> Option<i64> {
        let found = |key: &[u8]| match keys::parse(key) {
            Some(Key::Table) => self.table.as_ref().map_or(0, |(revision, _)| *revision),
            Some(Key::Fence(route)) => self.fences.get(route).map_or(0, |(revision, _)| *revision),
            // A reign's record is written with its fence and with nothing else.
            _ => 0,
        };
        if txn.compares.iter().any(|(key, expected)| found(key) != *expected) {
            return None;
        }
        self.revision += 1;
        for (key, write) in &txn.puts {
            match (keys::parse(key), write) {
                (_, Write::Table(table)) => self.table = Some((self.revision, Table::clone(table))),
                (Some(Key::Fence(route)), Write::Fence(fence)) => {
                    self.fences.insert(route.to_owned(), (self.revision, fence.clone()));
                }
                (_, Write::Reign(_)) => {}
                other => unreachable!("{other:?}"),
            }
        }
        Some(self.revision)
    }

    fn snapshot(&self) -> Snapshot {
        let fence = |(route, (revision, fence)): (&String, &(i64, Fence))| {
            (route.clone(), (*revision, Ok(fence.clone())))
        };
        Snapshot {
            table: self.table.clone().map(|(revision, table)| (revision, Ok(table))),
            fences: self.fences.iter().map(fence).collect(),
            reigns: BTreeMap::new(),
        }
    }
}

fn index(shard: ShardUid) -> usize {
    usize::from(shard == ShardUid(1))
}
