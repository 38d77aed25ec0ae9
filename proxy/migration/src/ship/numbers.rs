//! The numbers that clients know of an owner's keys.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_control::RouteLine;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_proto::etcdserverpb::RangeResponse;
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_upstream::ShardPool;
use etcd_prism_wire::translate::{Header, Kind, Lookup, Provenance, ReplyError, reply};
use prost::Message;

use super::ShipError;
use super::io::{Shard, get};

/// Point reads in one transaction. Few shards take more.
const READS: usize = 100;

/// A reign of a route's line, and the shard that it is read on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers<'a> {
    pub(crate) route: &'a str,
    pub(crate) shard: &'a ShardPool,
    /// With the index of the reign; `None`: clients know the shard's own numbers.
    pub(crate) line: Option<(&'a Arc<RouteLine>, usize)>,
    /// Provenance is read at this raw revision; `None`: as it is now. The same, as long as the shard rules.
    pub(crate) at: Option<i64>,
}

impl Numbers<'_> {
    /// What clients know of each key, in this order. All of them lie in the reign, or were there when it began.
    pub(crate) async fn of(
        &self,
        kvs: impl IntoIterator<Item = &KeyValue>,
    ) -> Result<Vec<ProvenanceRecord>, ShipError> {
        let raw: Vec<KeyValue> = kvs.into_iter().map(bare).collect();
        let Some((line, reign)) = self.line else { return Ok(raw.iter().map(record).collect()) };
        let message = Bytes::from(RangeResponse { kvs: raw, ..RangeResponse::default() }.encode_to_vec());
        let mut known: HashMap<Bytes, Lookup> = HashMap::new();
        loop {
            let lookup = |key: &[u8]| known.get(key).copied().unwrap_or(Lookup::Unread);
            let line =
                line.in_reign(reign, lookup).ok_or_else(|| self.wrong("a reign that is not on the line"))?;
            match reply(Kind::Range, &message, &line, Header::Exact) {
                Ok(pieces) => {
                    let shown = RangeResponse::decode(pieces.into_bytes());
                    let shown = shown.map_err(|error| self.wrong(&error.to_string()))?;
                    return Ok(shown.kvs.iter().map(record).collect());
                }
                Err(ReplyError::Unread(keys)) if keys.iter().all(|key| !known.contains_key(key)) => {
                    self.look_up(keys, &mut known).await?;
                }
                Err(error) => {
                    let shard = Shard(self.shard).name();
                    return Err(ShipError::Translate { shard, error });
                }
            }
        }
    }

    async fn look_up(&self, wanted: Vec<Bytes>, known: &mut HashMap<Bytes, Lookup>) -> Result<(), ShipError> {
        for wanted in wanted.chunks(READS) {
            let read = |key: &Bytes| {
                let mut range = get(keys::provenance(self.route, key).into());
                range.revision = self.at.unwrap_or(0);
                range
            };
            let (_, found) = Shard(self.shard).read(wanted.iter().map(read).collect()).await?;
            for (key, range) in wanted.iter().zip(found) {
                let lookup = match range.kvs.first() {
                    Some(kv) => Lookup::Found(provenance(kv)?),
                    None => Lookup::Absent,
                };
                known.insert(key.clone(), lookup);
            }
        }
        Ok(())
    }

    fn wrong(&self, reason: &str) -> ShipError {
        Shard(self.shard).bad(reason).into()
    }
}

fn provenance(kv: &KeyValue) -> Result<Provenance, ShipError> {
    let record = ProvenanceRecord::decode(&kv.value)?;
    Ok(Provenance {
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        version: record.version,
        raw_mod_revision: kv.mod_revision,
        raw_version: kv.version,
        base: 0,
    })
}

/// Without its value, which can be large.
fn bare(kv: &KeyValue) -> KeyValue {
    KeyValue { value: Bytes::new(), lease: 0, ..kv.clone() }
}

fn record(kv: &KeyValue) -> ProvenanceRecord {
    let KeyValue { create_revision, mod_revision, version, .. } = *kv;
    ProvenanceRecord { create_revision, mod_revision, version }
}
