//! What clients see, against what one etcd would have shown.

use bytes::Bytes;
use etcd_prism_ownership::Reign;
use etcd_prism_proto::{etcdserverpb as pb, mvccpb::KeyValue};
use etcd_prism_wire::translate::{Down, Header, KeyState, Kind, Line, RequestError, txn};
use pb::compare::TargetUnion;
use prost::Message;

use crate::Wrong;
use crate::copy::ROUTE;
use crate::world::World;

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &[T], expect: &[T]) -> Result<(), Wrong> {
    if got == expect { Ok(()) } else { Err(format!("{what}: {got:?} in place of {expect:?}")) }
}

impl World {
    /// All keys as they are.
    pub fn check_live(&mut self) -> Result<(), Wrong> {
        let (reign, raw) = (self.present(), self.raw_now());
        let kvs = self.store_of(reign).range(ROUTE, raw);
        let message = pb::RangeResponse { header: header(raw), kvs, ..Default::default() };
        let shown = self.shown(reign, raw, Kind::Range, Header::Exact, &message)?;
        let revision = shown.header.unwrap_or_default().revision;
        if revision < self.one.revision() {
            return Err(format!("header {revision} is below {}", self.one.revision()));
        }
        same("live", &shown.kvs, &self.one.range(ROUTE, i64::MAX))
    }

    /// The reign that a virtual revision belongs to, and its raw revision there.
    fn down(&self, revision: i64) -> Result<(Reign, i64), Wrong> {
        for reign in self.timeline.reigns() {
            if let Down::Raw(raw) = self.line_of(*reign).down(revision) {
                return Ok((*reign, raw));
            }
        }
        Err(format!("no reign holds {revision}"))
    }

    /// All keys as they were, at every revision that clients can name.
    pub fn check_past(&mut self) -> Result<(), Wrong> {
        let now = self.now()?;
        for revision in 1..=now {
            let (reign, raw) = self.down(revision)?;
            let kvs = self.store_of(reign).range(ROUTE, raw);
            let message = pb::RangeResponse { header: header(9999), kvs, ..Default::default() };
            let shown = self.shown(reign, raw, Kind::Range, Header::At(now), &message)?;
            same("header", &[shown.header.unwrap_or_default().revision], &[now])?;
            same(&format!("at {revision}"), &shown.kvs, &self.one.range(ROUTE, revision))?;
        }
        Ok(())
    }

    /// Watches from every virtual revision at which something begins, and from those beside it.
    pub fn check_watches(&mut self) -> Result<(), Wrong> {
        let written = self.one.events(ROUTE, 0..=i64::MAX).into_iter().filter_map(|event| event.kv);
        let began = self.timeline.reigns().iter().flat_map(|r| [r.after, r.raw_start + r.offset()]);
        let mut starts: Vec<i64> =
            written.map(|kv| kv.mod_revision).chain(began).flat_map(|r| [r - 1, r, r + 1]).collect();
        starts.retain(|start| *start > 0);
        starts.sort_unstable();
        starts.dedup();
        starts.into_iter().try_for_each(|start| self.check_watch(start))
    }

    /// Everything that a watch from this virtual revision delivers, over all reigns.
    fn check_watch(&mut self, from: i64) -> Result<(), Wrong> {
        let (first, start) = self.down(from)?;
        let mut events = Vec::new();
        for reign in self.timeline.reigns().to_vec().into_iter().filter(|reign| reign.n >= first.n) {
            let span = self.line_of(reign).span();
            let start = if reign.n == first.n { start } else { *span.start() };
            let raw = self.store_of(reign).revision();
            let delivered = self.store_of(reign).events(ROUTE, start..=*span.end());
            let message = pb::WatchResponse { header: header(raw), events: delivered, ..Default::default() };
            let at = raw.min(*span.end());
            events.extend(self.shown(reign, at, Kind::Watch, Header::Within, &message)?.events);
        }
        same(&format!("watch from {from}"), &events, &self.one.events(ROUTE, from..=i64::MAX))
    }

    /// Every compare with every number that could matter, on every key.
    pub fn check_compares(&mut self) -> Result<(), Wrong> {
        for key in (0..5).map(|key| format!("{ROUTE}{key}")) {
            let mut numbers: Vec<i64> = vec![-1, 0, 1, i64::MAX];
            for kv in self.one.events(&key, 0..=i64::MAX).into_iter().filter_map(|event| event.kv) {
                numbers.extend([kv.create_revision, kv.mod_revision, kv.mod_revision + 1, kv.version]);
            }
            let present = self.present();
            numbers.extend([present.after, present.after + 1, present.raw_start + present.offset()]);
            numbers.sort_unstable();
            numbers.dedup();
            for (number, target) in numbers.iter().flat_map(|n| (0..3).map(move |target| (*n, target))) {
                for result in 0..4 {
                    self.check_compare(&key, target, result, number)?;
                }
            }
        }
        Ok(())
    }

    fn check_compare(&mut self, key: &str, target: i32, result: i32, number: i64) -> Result<(), Wrong> {
        let union = match target {
            0 => TargetUnion::Version(number),
            1 => TargetUnion::CreateRevision(number),
            _ => TargetUnion::ModRevision(number),
        };
        let asked = pb::Compare {
            key: Bytes::from(key.to_owned()),
            target,
            result,
            target_union: Some(union),
            ..Default::default()
        };
        let message = Bytes::from(
            pb::TxnRequest { compare: vec![asked.clone()], ..Default::default() }.encode_to_vec(),
        );
        let (reign, raw) = (self.present(), self.raw_now());
        let present = self.store_of(reign).get(key, raw).unwrap_or_default();
        let expect = holds(&asked, &self.one.get(key, i64::MAX).unwrap_or_default());
        loop {
            let seen = std::mem::take(&mut self.seen);
            let unread = |error| match error {
                RequestError::Unread(keys) => Ok(keys),
                error => Err(format!("{error} for {asked:?}")),
            };
            // Nothing but what is known already; then the key, and its provenance with it.
            let rewrite = match txn(&message, &self.line_of(reign), &seen) {
                Err(RequestError::Unread(_)) if !seen.contains_key(&asked.key) => None,
                _ => Some(self.with_line(reign, raw, unread, |line| txn(&message, line, &seen))?),
            };
            self.seen = seen;
            let Some(rewrite) = rewrite else {
                let state = KeyState {
                    create_revision: present.create_revision,
                    mod_revision: present.mod_revision,
                    version: present.version,
                };
                self.seen.insert(asked.key.clone(), state);
                continue;
            };
            let mut sent = pb::TxnRequest::decode(rewrite.message).map_err(|error| error.to_string())?;
            if rewrite.is_guarded {
                if !holds(&sent.compare[0], &present) {
                    self.seen.remove(&asked.key);
                    continue;
                }
                let Some(pb::request_op::Request::RequestTxn(inner)) = sent.success[0].request.take() else {
                    return Err("no transaction within the guards".into());
                };
                sent = inner;
            }
            if holds(&sent.compare[0], &present) == expect {
                return Ok(());
            }
            return Err(format!("{asked:?} as {:?} on {present:?} is not {expect}", sent.compare[0]));
        }
    }
}

/// What etcd decides about a key.
fn holds(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let (has, asked) = match (&compare.target_union, compare.target) {
        (Some(TargetUnion::Version(number)), 0) => (kv.version, *number),
        (Some(TargetUnion::CreateRevision(number)), 1) => (kv.create_revision, *number),
        (Some(TargetUnion::ModRevision(number)), 2) => (kv.mod_revision, *number),
        _ => panic!("{compare:?}"),
    };
    match compare.result {
        0 => has == asked,
        1 => has > asked,
        2 => has < asked,
        _ => has != asked,
    }
}
