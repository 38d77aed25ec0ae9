//! Shards in memory, for tests: what is written is encoded, and decoded when it is read.

use std::collections::{BTreeMap, BTreeSet};

use etcd_prism_routing::{RouteSpec, ShardId};

use crate::change::{Command, Driver};
use crate::definition::Interval;
use crate::drain::SessionList;
use crate::facts::Snapshot;
use crate::first;
use crate::id::{ClusterId, ProxyId, ShardUid};
use crate::keys::{self, Key};
use crate::txn::Txn;
use crate::value::{self, Fence, PROTOCOL, ReignRecord, Stored, Table, TableShard};

pub(crate) const A: ShardUid = ShardUid(1);
pub(crate) const B: ShardUid = ShardUid(2);

pub(crate) fn spec(name: &str, prefixes: &[&str], shard: u16) -> RouteSpec {
    let prefixes = prefixes.iter().map(|p| p.as_bytes().to_vec()).collect();
    RouteSpec { name: name.into(), prefixes, shard: ShardId(shard) }
}

pub(crate) fn table(specs: &[RouteSpec]) -> Table {
    let shard = |name: &str, id: ShardUid| TableShard {
        name: name.into(),
        id,
        cluster_id: ClusterId(id.0 as u64 * 10),
    };
    Table::first(vec![shard("a", A), shard("b", B)], specs).unwrap()
}

#[derive(Default)]
pub(crate) struct Node {
    pub(crate) revision: i64,
    pub(crate) kv: BTreeMap<Vec<u8>, (i64, Vec<u8>)>,
    /// Clients' keys.
    pub(crate) clients: BTreeSet<Vec<u8>>,
    /// By proxy.
    pub(crate) acks: BTreeMap<u128, BTreeMap<String, i64>>,
}

#[derive(Default)]
pub(crate) struct Cluster(pub(crate) BTreeMap<ShardUid, Node>);

impl Cluster {
    pub(crate) fn new() -> Self {
        let node = || Node { revision: 10, ..Node::default() };
        Self([A, B].map(|shard| (shard, node())).into())
    }

    /// Two shards on which a first start with this table has been made.
    pub(crate) fn started(table: &Table) -> Self {
        let mut cluster = Self::new();
        assert_eq!(cluster.start(table), first::Command::Done(BTreeMap::new()));
        cluster
    }

    pub(crate) fn node(&mut self, shard: ShardUid) -> &mut Node {
        self.0.get_mut(&shard).unwrap()
    }

    pub(crate) fn put(&mut self, shard: ShardUid, key: Vec<u8>, value: Vec<u8>) -> i64 {
        let node = self.node(shard);
        node.revision += 1;
        node.kv.insert(key, (node.revision, value));
        node.revision
    }

    pub(crate) fn fence(&self, shard: ShardUid, route: &str) -> Option<Fence> {
        self.0[&shard].kv.get(&keys::fence(route)).map(|(_, value)| Fence::decode(value).unwrap())
    }

    pub(crate) fn state(&self, shard: ShardUid, route: &str) -> &'static str {
        self.fence(shard, route).map_or("absent", |f| f.state.name())
    }

    pub(crate) fn table(&self, shard: ShardUid) -> Table {
        Table::decode(&self.0[&shard].kv[keys::TABLE].1).unwrap()
    }

    pub(crate) fn reign(&self, shard: ShardUid, route: &str, n: u64) -> ReignRecord {
        ReignRecord::decode(&self.0[&shard].kv[&keys::reign(route, n)].1).unwrap()
    }

    /// Every session acknowledges every seal.
    pub(crate) fn acknowledge(&mut self) {
        for node in self.0.values_mut() {
            for (key, (revision, value)) in &node.kv {
                let Some(Key::Fence(route)) = keys::parse(key) else { continue };
                if Fence::decode(value).unwrap().state.name() == "sealed" {
                    node.acks.values_mut().for_each(|acks| {
                        acks.insert(route.to_owned(), *revision);
                    });
                }
            }
        }
    }

    fn snapshot(&self, shard: ShardUid) -> Snapshot {
        let mut out = Snapshot { table: None, fences: BTreeMap::new(), reigns: BTreeMap::new() };
        for (key, (revision, value)) in &self.0[&shard].kv {
            match keys::parse(key) {
                Some(Key::Table) => out.table = Some((*revision, Table::decode(value))),
                Some(Key::Fence(route)) => {
                    out.fences.insert(route.to_owned(), (*revision, Fence::decode(value)));
                }
                Some(Key::Reign { route, n }) => {
                    out.reigns.insert((route.to_owned(), n), (*revision, ReignRecord::decode(value)));
                }
                _ => {}
            }
        }
        out
    }

    pub(crate) fn txn(&mut self, txn: &Txn) -> Option<i64> {
        let node = self.node(txn.shard);
        let found = |key: &[u8]| node.kv.get(key).map_or(0, |(revision, _)| *revision);
        if txn.compares.iter().any(|(key, expected)| found(key) != *expected) {
            return None;
        }
        node.revision += 1;
        for (key, write) in &txn.puts {
            node.kv.insert(key.clone(), (node.revision, write.encode().unwrap()));
        }
        Some(node.revision)
    }

    fn find(&self, shard: ShardUid, intervals: &[Interval]) -> Option<Vec<u8>> {
        let inside =
            |key: &&Vec<u8>| intervals.iter().any(|(start, end)| **start <= key[..] && key[..] < **end);
        self.0[&shard].clients.iter().find(inside).cloned()
    }

    fn sessions(&self, shard: ShardUid) -> SessionList {
        let node = &self.0[&shard];
        let session = |(id, acks): (&u128, &BTreeMap<String, i64>)| {
            let session = value::Session {
                protocol: PROTOCOL,
                name: format!("p{id}"),
                address: String::new(),
                started: 0,
                acks: acks.clone(),
                revisions: BTreeMap::new(),
            };
            (ProxyId(*id), Ok(session))
        };
        SessionList { revision: node.revision, sessions: node.acks.iter().map(session).collect() }
    }

    /// Runs a driver until it ends, waits for sessions, or has made `writes` Txns: what it asked for last.
    pub(crate) fn run(&mut self, driver: &mut Driver, mut writes: usize) -> Command {
        loop {
            let command = driver.next();
            match &command {
                Command::Read(shard) => driver.read(*shard, self.snapshot(*shard)),
                Command::List { shard, .. } => {
                    let before = driver.clone();
                    driver.listed(*shard, &self.sessions(*shard));
                    if *driver == before {
                        return command;
                    }
                }
                Command::Probe { claim, shard, intervals } => {
                    let revision = self.0[shard].revision;
                    driver.probed(*claim, *shard, revision, self.find(*shard, intervals));
                }
                Command::Write(_) if writes == 0 => return command,
                Command::Write(txn) => {
                    writes -= 1;
                    let revision = self.txn(txn);
                    driver.answered(txn, revision);
                }
                Command::Done { .. } | Command::Stopped(_) => return command,
            }
        }
    }

    /// Runs a first start until it ends.
    pub(crate) fn start(&mut self, table: &Table) -> first::Command {
        let mut start = first::FirstStart::new(table.clone());
        loop {
            match start.next() {
                first::Command::Read(shard) => start.read(shard, self.snapshot(shard)),
                first::Command::Probe { shard, route, intervals } => {
                    start.probed(shard, &route, self.find(shard, &intervals));
                }
                first::Command::Write(txn) => {
                    let revision = self.txn(&txn);
                    start.answered(&txn, revision);
                }
                end => return end,
            }
        }
    }
}
