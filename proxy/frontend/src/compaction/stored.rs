//! Samples that outlive the proxy, on home.
//!
//! An API server compacts at the revision at which it wrote `compact_rev_key` some minutes before, perhaps through another
//! proxy, perhaps before this one was started. So the newest sample is stored whenever that key is written: once per
//! round of compaction, and never otherwise.

use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{self, Stored};
use etcd_prism_proto::etcdserverpb as pb;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::{UpstreamError, rpc};
use etcd_prism_wire::{Code, Status};

use super::Sample;
use crate::gateway::Worker;

/// The key whose writing precedes a compaction (Kubernetes' `compactRevKey`).
pub const COMPACT_REV_KEY: &[u8] = b"compact_rev_key";
/// Samples stored: a few rounds of a few API servers.
const STORED: usize = 32;
/// Proxies that store at the same time get out of each other's way.
const ATTEMPTS: usize = 5;

/// What a home holds, with its mod revision; 0 if there is nothing.
async fn read(worker: &Worker, home: ShardId) -> Result<(i64, value::Samples), UpstreamError> {
    let request = pb::RangeRequest { key: keys::SAMPLES.into(), ..pb::RangeRequest::default() };
    let reply: pb::RangeResponse = rpc::read(worker.pool(home), rpc::RANGE, &request).await?;
    let none = value::Samples { samples: Vec::new() };
    let Some(kv) = reply.kvs.first() else { return Ok((0, none)) };
    // What a newer proxy wrote in another way is overwritten: samples are made anew all the time.
    Ok((kv.mod_revision, value::Samples::decode(&kv.value).unwrap_or(none)))
}

/// The samples stored on `home`, oldest first. They are of when it was home.
pub(super) async fn load(worker: &Worker, home: ShardId) -> Result<Vec<Sample>, UpstreamError> {
    let (_, stored) = read(worker, home).await?;
    let shards = &worker.gateway.shards;
    let others = |sample: &value::Sample| {
        let of = |shard: ShardId| sample.others.get(&worker.gateway.ownership.shard_uid(shard)?).copied();
        shards.iter().map(|s| of(s.id)).collect()
    };
    let sample = |s: &value::Sample| Sample { home, revision: s.home, others: others(s) };
    Ok(stored.samples.iter().map(sample).collect())
}

/// Adds a sample to those stored on its home.
pub(super) async fn store(worker: &Worker, sample: &Sample) -> Result<(), UpstreamError> {
    let named =
        worker.gateway.shards.iter().zip(&sample.others).filter_map(|(shard, revision)| {
            Some((worker.gateway.ownership.shard_uid(shard.id)?, (*revision)?))
        });
    let new = value::Sample { home: sample.revision, others: named.collect() };
    for _ in 0..ATTEMPTS {
        let (mod_revision, mut stored) = read(worker, sample.home).await?;
        // As in memory: of samples at one revision of home the newest, and none that home has not reached.
        stored.samples.retain(|s| s.home < new.home);
        stored.samples.push(new.clone());
        let excess = stored.samples.len().saturating_sub(STORED);
        stored.samples.drain(..excess);
        let Ok(value) = stored.encode() else { return Ok(()) };
        let reply: pb::TxnResponse =
            rpc::write(worker.pool(sample.home), rpc::TXN, &put(mod_revision, value)).await?;
        if reply.succeeded {
            return Ok(());
        }
    }
    Err(Status::new(Code::Aborted, "other proxies store samples all the time").into())
}

/// `If MOD(samples) == mod_revision Then Put`.
fn put(mod_revision: i64, value: Vec<u8>) -> pb::TxnRequest {
    let compare = pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Mod.into(),
        key: keys::SAMPLES.into(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(mod_revision)),
        ..pb::Compare::default()
    };
    let put = pb::PutRequest { key: keys::SAMPLES.into(), value: value.into(), ..pb::PutRequest::default() };
    let put = pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) };
    pb::TxnRequest { compare: vec![compare], success: vec![put], failure: Vec::new() }
}
