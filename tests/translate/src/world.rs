//! The route, its three stores, and the one store that clients believe in.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use etcd_prism_ownership::{Reign, ShardUid, Timeline};
use etcd_prism_proto::etcdserverpb as pb;
use etcd_prism_wire::translate::{Header, KeyState, Kind, Lookup, ReplyError, reply};
use prost::Message;

use crate::copy::{self, Apply, ROUTE};
use crate::line::ReignLine;
use crate::store::Store;
use crate::{Rules, Wrong};

/// What happens.
#[derive(Debug, Clone)]
pub enum Step {
    /// A client's transaction: keys, and whether each is put or deleted.
    Write(Vec<(u8, bool)>),
    /// Others write to one of the stores.
    Foreign(usize, i64),
    /// A copy to a store begins.
    Create(usize),
    /// Some change reaches the standby; not for the first time, perhaps.
    Apply(usize),
    /// The standby takes over. What it still lacks comes in some order, and others write to both stores.
    Switch { order: usize, drift: i64 },
    /// The standby is given up, and perhaps the owner's guards are collected.
    Complete { guards: bool },
    /// Compares, each against what clients believe.
    Compare,
}

struct Standby {
    store: usize,
    /// Everything since the copy began.
    changes: Vec<Apply>,
}

pub struct World {
    pub rules: Rules,
    pub stores: [Store; 3],
    /// What one etcd would have.
    pub one: Store,
    pub timeline: Timeline,
    owner: usize,
    standby: Option<Standby>,
    /// By store: the last virtual revision of its latest reign that is over.
    ruled_until: [i64; 3],
    /// By reign and key.
    provenance: HashMap<u64, HashMap<String, Lookup>>,
    /// What was seen of compared keys in this reign.
    pub seen: HashMap<Bytes, KeyState>,
    values: u64,
}

impl World {
    pub fn new(rules: Rules) -> Self {
        let first = Reign { n: 1, shard: ShardUid(0), after: 0, raw_start: 1 };
        Self {
            rules,
            stores: [Store::new(), Store::new(), Store::new()],
            one: Store::new(),
            timeline: Timeline::new(vec![first]).unwrap(),
            owner: 0,
            standby: None,
            ruled_until: [0; 3],
            provenance: HashMap::new(),
            seen: HashMap::new(),
            values: 0,
        }
    }

    pub fn present(&self) -> Reign {
        *self.timeline.reigns().last().unwrap()
    }

    pub fn store_of(&self, reign: Reign) -> &Store {
        &self.stores[reign.shard.0 as usize]
    }

    /// The owner's raw revision.
    pub fn raw_now(&self) -> i64 {
        self.stores[self.owner].revision()
    }

    /// Does something with a reign's line, after looking up all that it lacks at a raw revision of that reign.
    pub fn with_line<T, E>(
        &mut self,
        reign: Reign,
        at: i64,
        unread: impl Fn(E) -> Result<Vec<Bytes>, Wrong>,
        run: impl Fn(&ReignLine<'_>) -> Result<T, E>,
    ) -> Result<T, Wrong> {
        let cache = if self.rules.cache_by_reign { reign.n } else { 0 };
        loop {
            let provenance = self.provenance.entry(cache).or_default();
            let line = ReignLine { timeline: &self.timeline, reign, provenance, rules: self.rules };
            let keys = match run(&line) {
                Ok(done) => return Ok(done),
                Err(error) => unread(error)?,
            };
            for key in keys {
                let key = String::from_utf8(key.to_vec()).unwrap();
                let found = copy::provenance(&self.stores[reign.shard.0 as usize], &key, at);
                if provenance.insert(key, found).is_some() {
                    return Err("asked twice for the same provenance".into());
                }
            }
        }
    }

    /// A reign's line with what was looked up so far.
    pub fn line_of(&self, reign: Reign) -> ReignLine<'_> {
        static NOTHING: LazyLock<HashMap<String, Lookup>> = LazyLock::new(HashMap::new);
        let cache = if self.rules.cache_by_reign { reign.n } else { 0 };
        let provenance = self.provenance.get(&cache).unwrap_or(&NOTHING);
        ReignLine { timeline: &self.timeline, reign, provenance, rules: self.rules }
    }

    /// A reply of the reign's store, as clients see it. `at` is the raw revision at which it was read.
    pub fn shown<M: Message + Default>(
        &mut self,
        reign: Reign,
        at: i64,
        kind: Kind<'_>,
        header: Header,
        message: &M,
    ) -> Result<M, Wrong> {
        let message = Bytes::from(message.encode_to_vec());
        let unread = |error| match error {
            ReplyError::Unread(keys) => Ok(keys),
            error => Err(format!("{error} ({error:?}) in reign {}", reign.n)),
        };
        let pieces = self.with_line(reign, at, unread, |line| reply(kind, &message, line, header))?;
        M::decode(pieces.into_bytes()).map_err(|error| error.to_string())
    }

    /// The virtual revision that clients are shown as the present one.
    pub fn now(&mut self) -> Result<i64, Wrong> {
        let raw = self.raw_now();
        let header = Some(pb::ResponseHeader { revision: raw, ..Default::default() });
        let message = pb::CompactionResponse { header };
        let shown = self.shown(self.present(), raw, Kind::Header, Header::Exact, &message)?;
        Ok(shown.header.unwrap_or_default().revision)
    }

    pub fn step(&mut self, step: &Step) -> Result<(), Wrong> {
        match step {
            Step::Write(changes) => self.write(changes)?,
            Step::Foreign(store, by) => self.stores[*store].advance(*by),
            Step::Create(store) => self.create(*store)?,
            Step::Apply(i) => self.apply(*i),
            Step::Switch { order, drift } => self.switch(*order, *drift)?,
            Step::Complete { guards } => self.complete(*guards),
            Step::Compare => self.check_compares()?,
        }
        self.check_live()
    }

    fn write(&mut self, changes: &[(u8, bool)]) -> Result<(), Wrong> {
        self.values += 1;
        let value = || Some(Bytes::from(format!("value {}", self.values)));
        let change = |(key, put): &(u8, bool)| (format!("{ROUTE}{key}"), if *put { value() } else { None });
        let changes: Vec<_> = changes.iter().map(change).collect();
        let before = self.raw_now();
        let raw = self.stores[self.owner].write(&changes);
        if raw == before {
            return Ok(());
        }
        let revision = self.now()?;
        if revision <= self.one.revision() {
            return Err(format!("revision {revision} is not above {}", self.one.revision()));
        }
        self.one.write_at(revision, &changes);
        for (key, _) in changes {
            self.mirror(key, revision, raw)?;
        }
        Ok(())
    }

    /// Notes what a write did to a key, for the standby.
    fn mirror(&mut self, key: String, revision: i64, raw: i64) -> Result<(), Wrong> {
        if self.standby.is_none() {
            return Ok(());
        }
        let kvs = self.stores[self.owner].get(&key, raw).into_iter().collect();
        let state = self.read(kvs)?.into_iter().next();
        let state = state.map(|kv| (kv.create_revision, kv.version, kv.value));
        let change = Apply { key, mod_revision: revision, raw_mod_revision: raw, state };
        self.standby.iter_mut().for_each(|standby| standby.changes.push(change.clone()));
        Ok(())
    }

    /// Pairs of the owner, as clients see them.
    fn read(
        &mut self,
        kvs: Vec<etcd_prism_proto::mvccpb::KeyValue>,
    ) -> Result<Vec<etcd_prism_proto::mvccpb::KeyValue>, Wrong> {
        let message = pb::RangeResponse { kvs, ..Default::default() };
        Ok(self.shown(self.present(), self.raw_now(), Kind::Range, Header::Exact, &message)?.kvs)
    }

    fn create(&mut self, store: usize) -> Result<(), Wrong> {
        if self.standby.is_some() || store == self.owner {
            return Ok(());
        }
        let raw = self.stores[self.owner].range(ROUTE, self.raw_now());
        let shown = self.read(raw.clone())?;
        let changes = raw.into_iter().zip(shown).map(|(raw, kv)| Apply {
            key: String::from_utf8(kv.key.to_vec()).unwrap(),
            mod_revision: kv.mod_revision,
            raw_mod_revision: raw.mod_revision,
            state: Some((kv.create_revision, kv.version, kv.value)),
        });
        self.standby = Some(Standby { store, changes: changes.collect() });
        Ok(())
    }

    fn apply(&mut self, i: usize) {
        let Some(Standby { store, changes }) = &self.standby else { return };
        if let Some(change) = changes.get(i % changes.len().max(1)) {
            copy::apply(&mut self.stores[*store], change, self.ruled_until[*store], self.rules);
        }
    }

    fn switch(&mut self, order: usize, drift: i64) -> Result<(), Wrong> {
        let Some(Standby { store, changes }) = self.standby.take() else { return Ok(()) };
        let len = changes.len();
        for i in 0..len {
            let i = if order.is_multiple_of(2) { (i + order) % len } else { len - 1 - i };
            copy::apply(&mut self.stores[store], &changes[i], self.ruled_until[store], self.rules);
        }
        self.stores[self.owner].advance(drift);
        let g = if self.rules.virtual_g { self.now()? } else { self.raw_now() };
        let n = self.present().n + 1;
        let raw_start = self.stores[store].write(&[(format!("reign/{n}"), Some(Bytes::new()))]);
        self.stores[store].advance(drift % 3);
        let mut reigns = self.timeline.reigns().to_vec();
        reigns.push(Reign { n, shard: ShardUid(store as u128), after: g, raw_start });
        self.timeline = Timeline::new(reigns).map_err(|error| error.to_string())?;
        self.ruled_until[self.owner] = g;
        self.standby = Some(Standby { store: self.owner, changes: Vec::new() });
        self.owner = store;
        self.seen.clear();
        self.check_compares()
    }

    fn complete(&mut self, guards: bool) {
        if let Some(standby) = self.standby.take() {
            copy::purge(&mut self.stores[standby.store]);
            if guards {
                copy::drop_guards(&mut self.stores[self.owner]);
            }
        }
    }
}
