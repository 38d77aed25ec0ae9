//! Reads what a plan is made of.

use std::time::Duration;

use etcd_prism_control::call;
use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::definition::Interval;
use etcd_prism_ownership::drain::SessionList;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::View;
use etcd_prism_proto::etcdserverpb::{PutRequest, RangeRequest, StatusRequest, StatusResponse};
use etcd_prism_upstream::{ShardPool, UpstreamError, rpc};

use crate::shipping::Route;
use crate::view;

const PATIENCE: Duration = Duration::from_secs(2);
/// Counting walks the index of all keys.
const COUNT: Duration = Duration::from_secs(30);
/// Ranges asked for at once.
const AT_ONCE: usize = 32;
/// Keys whose size is looked at: few, because each may be as big as a request.
const SAMPLE: i64 = 20;
/// Operations that a batch of the standby has at most.
pub(crate) const OPS: usize = 128;
/// Bytes of the largest request that etcd takes unless told otherwise, with what is put beside a value.
const REQUEST: usize = (3 << 19) + 512;

/// What was read of a shard.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) view: View,
    pub(crate) sessions: SessionList,
    pub(crate) space: Space,
    /// What the shard itself complains of.
    pub(crate) errors: Vec<String>,
}

/// In bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Space {
    pub(crate) in_use: i64,
    /// 0: it does not tell (etcd 3.5).
    pub(crate) quota: i64,
}

/// The route's keys on the owner.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    pub(crate) keys: u64,
    /// Estimated.
    pub(crate) bytes: u64,
}

/// Whether the target takes what is sent to it.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Why it does not take a Txn of [`OPS`] operations.
    pub(crate) ops: Result<(), String>,
    /// Why it does not take the largest value.
    pub(crate) request: Result<(), String>,
}

/// A shard with what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) id: Option<ShardUid>,
    pub(crate) side: Result<Side, String>,
}

pub(crate) async fn side(pool: &ShardPool, id: Option<ShardUid>, route: &Route) -> Found {
    let read = async {
        let status = rpc::read::<_, StatusResponse>(pool, rpc::STATUS, &StatusRequest {});
        let (view, sessions, status) = tokio::try_join!(
            view::read(pool, &route.name, PATIENCE),
            view::sessions(pool, PATIENCE),
            status,
        )?;
        let space = Space { in_use: status.db_size_in_use, quota: status.db_size_quota };
        Ok::<_, UpstreamError>(Side { view, sessions, space, errors: status.errors })
    };
    Found { name: pool.shard().name.clone(), id, side: read.await.map_err(|e| e.to_string()) }
}

/// Counts the route's keys and guesses their bytes.
pub(crate) async fn size(pool: &ShardPool, route: &Route) -> Result<Size, UpstreamError> {
    let mut out = Size::default();
    for some in route.intervals.chunks(AT_ONCE) {
        let count = |interval| RangeRequest { count_only: true, ..over(interval) };
        let sample = |interval| RangeRequest { limit: SAMPLE, ..over(interval) };
        let counts = call::read(pool, some.iter().map(count).collect(), COUNT).await?;
        for (interval, count) in some.iter().zip(&counts.ranges) {
            let keys = u64::try_from(count.count).unwrap_or(0);
            if keys == 0 {
                continue;
            }
            let found = call::read(pool, vec![sample(interval)], COUNT).await?;
            let kvs = found.ranges.first().map(|range| &range.kvs[..]).unwrap_or_default();
            let bytes: usize = kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
            let each = bytes as f64 / kvs.len().max(1) as f64;
            out.keys += keys;
            out.bytes += (each * keys as f64) as u64;
        }
    }
    Ok(out)
}

/// A key of the route on a shard, if there is one.
pub(crate) async fn first_key(pool: &ShardPool, route: &Route) -> Result<Option<Vec<u8>>, UpstreamError> {
    for some in route.intervals.chunks(AT_ONCE) {
        let look = |interval| RangeRequest { limit: 1, keys_only: true, ..over(interval) };
        let answers = call::read(pool, some.iter().map(look).collect(), COUNT).await?;
        if let Some(kv) = answers.ranges.iter().find_map(|range| range.kvs.first()) {
            return Ok(Some(kv.key.to_vec()));
        }
    }
    Ok(None)
}

/// Tries what the target takes; nothing is written.
pub(crate) async fn limits(pool: &ShardPool) -> Limits {
    let range = || RangeRequest { key: keys::TABLE.into(), count_only: true, ..RangeRequest::default() };
    let ops = call::read(pool, (0..OPS).map(|_| range()).collect(), PATIENCE).await;
    // No key has this mod revision, so the put is not made; its size is looked at before.
    let never = [(keys::TABLE.to_vec(), i64::MAX)];
    let value = vec![0; REQUEST];
    let put = PutRequest { key: keys::MARKER.into(), value: value.into(), ..PutRequest::default() };
    let request = call::put_if(pool, &never, vec![put], None, PATIENCE).await;
    Limits {
        ops: ops.map(drop).map_err(|e| e.to_string()),
        request: request.map(drop).map_err(|e| e.to_string()),
    }
}

fn over((start, end): &Interval) -> RangeRequest {
    // etcd knows no empty key; the lowest one is a zero byte.
    let key = if start.is_empty() { vec![0] } else { start.to_vec() };
    RangeRequest { key: key.into(), range_end: end.to_vec().into(), ..RangeRequest::default() }
}
