//! Tables to change between.

use std::collections::BTreeMap;

use etcd_prism_ownership::value::{Pending, Table, TableShard};
use etcd_prism_ownership::{ClusterId, DefinitionHash, Fence, ShardUid, State};
use etcd_prism_routing::{RouteSpec, ShardId};

use super::shard::Shard;

/// The key that proxies write.
pub const KEY: &[u8] = b"/f/x";
/// A key that the default route keeps.
pub const OTHER: &[u8] = b"/other";

/// Two shards, a table that is stored and tables that are wanted. The arbiter is the first shard.
#[derive(Debug, Clone)]
pub struct Tables {
    pub old: Table,
    pub new: Table,
    /// Whether each of [`KEY`] and [`OTHER`] is in a definition.
    covers: BTreeMap<DefinitionHash, [bool; 2]>,
}

fn spec(name: &str, prefixes: &[&str], shard: u16) -> RouteSpec {
    let prefixes = prefixes.iter().map(|p| p.as_bytes().to_vec()).collect();
    RouteSpec { name: name.into(), prefixes, shard: ShardId(shard) }
}

impl Tables {
    /// `f` is split off from the default route, onto the second shard.
    pub fn split() -> Self {
        Self::new(&[spec("rest", &[], 0)], &[spec("f", &["/f/"], 1), spec("rest", &[], 0)])
    }

    /// `f` becomes part of the default route, on another shard.
    pub fn join() -> Self {
        Self::new(&[spec("f", &["/f/"], 1), spec("rest", &[], 0)], &[spec("rest", &[], 0)])
    }

    /// `f` goes to the second shard.
    pub fn moved() -> Self {
        let table = |shard| [spec("f", &["/f/"], shard), spec("rest", &[], 0)];
        Self::new(&table(0), &table(1))
    }

    /// `f` is split off, and stays on its shard.
    pub fn carved() -> Self {
        Self::new(&[spec("rest", &[], 0)], &[spec("f", &["/f/"], 0), spec("rest", &[], 0)])
    }

    fn new(old: &[RouteSpec], new: &[RouteSpec]) -> Self {
        let shard = |i: u64| TableShard {
            name: ["a", "b"][i as usize].into(),
            id: ShardUid(u128::from(i) + 1),
            cluster_id: ClusterId(i + 1),
        };
        let table = |specs: &[RouteSpec]| Table::first(vec![shard(0), shard(1)], specs).unwrap();
        let (old, new) = (table(old), table(new));
        let mut covers = BTreeMap::new();
        for table in [&old, &new] {
            for route in table.layout().unwrap().routes() {
                let covered = [KEY, OTHER].map(|key| {
                    route.definition.intervals.iter().any(|(start, end)| &**start <= key && key < &**end)
                });
                covers.insert(route.definition.hash(), covered);
            }
        }
        Self { old, new, covers }
    }

    /// A table as a goal.
    pub fn wanted(table: &Table) -> Pending {
        Pending { shards: table.shards.clone(), routes: table.routes.clone() }
    }

    pub(super) fn ids(&self) -> [ShardUid; 2] {
        [ShardUid(1), ShardUid(2)]
    }

    pub(super) fn index(&self, shard: ShardUid) -> usize {
        usize::from(shard == ShardUid(2))
    }

    /// Whether the key changes shards.
    pub fn crosses(&self) -> bool {
        let place = |table: &Table| table.route(&self.owner(table)).map(|r| r.shard);
        place(&self.old) != place(&self.new)
    }

    /// The names of all routes.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.old.routes.iter().chain(&self.new.routes).map(|r| &r.name[..]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The route of [`KEY`].
    pub(super) fn owner(&self, table: &Table) -> String {
        let owner = table.routes.iter().find(|r| self.covers_key(r.definition));
        owner.map(|r| r.name.clone()).unwrap_or_default()
    }

    pub(super) fn covers_key(&self, definition: DefinitionHash) -> bool {
        self.covers.get(&definition).is_some_and(|c| c[0])
    }

    pub(super) fn covers_other(&self, definition: DefinitionHash) -> bool {
        self.covers.get(&definition).is_some_and(|c| c[1])
    }

    /// Both shards under the old table.
    pub(super) fn begin(&self) -> [Shard; 2] {
        self.ids().map(|id| {
            let here = self.old.routes.iter().filter(|r| r.shard == id);
            let fences = here.map(|route| {
                let state = State::Open { peer: None };
                (route.name.clone(), Fence { n: 1, definition: route.definition, shard: id, state })
            });
            Shard::new(&self.old, fences.collect())
        })
    }
}
