//! Whether a shard holds keys.

use std::time::Duration;

use etcd_prism_ownership::definition::Interval;
use etcd_prism_proto::etcdserverpb::RangeRequest;
use etcd_prism_upstream::{ShardPool, UpstreamError};

use crate::call;

/// Ranges asked for at once: far below what any etcd allows.
const AT_ONCE: usize = 64;

/// What a look found.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    /// The lowest revision of the answers: what was written later may have been missed.
    pub(crate) revision: i64,
    /// The first key that was found.
    pub(crate) found: Option<Vec<u8>>,
}

/// Looks linearizably for a key in the intervals.
pub(crate) async fn first_key(
    pool: &ShardPool,
    intervals: &[Interval],
    patience: Duration,
) -> Result<Probed, UpstreamError> {
    let mut revision = None;
    for some in intervals.chunks(AT_ONCE) {
        let answers = call::read(pool, some.iter().map(look).collect(), patience).await?;
        revision.get_or_insert(answers.revision);
        let mut keys = answers.ranges.iter().filter_map(|range| range.kvs.first());
        if let Some(kv) = keys.next() {
            return Ok(Probed { revision: answers.revision, found: Some(kv.key.to_vec()) });
        }
    }
    Ok(Probed { revision: revision.unwrap_or(0), found: None })
}

fn look((start, end): &Interval) -> RangeRequest {
    // etcd knows no empty key; the lowest one is a zero byte.
    let key = if start.is_empty() { vec![0] } else { start.to_vec() };
    RangeRequest {
        key: key.into(),
        range_end: end.to_vec().into(),
        limit: 1,
        keys_only: true,
        ..RangeRequest::default()
    }
}
