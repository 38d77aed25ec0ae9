//! What broken rules make of what drivers send and are told.

use std::sync::Arc;

use etcd_prism_ownership::migration::View;
use etcd_prism_ownership::txn::{Txn, Write};
use etcd_prism_ownership::value::ReignRecord;
use etcd_prism_ownership::{ShardUid, State};

use super::slot::Script;
use super::{Shard, Variant};

/// A flip that takes G from its driver's memory.
pub(super) fn sent(mut txn: Txn, remembered: Option<i64>, variant: Variant) -> Txn {
    if let (Variant::RememberedG, Some(g)) = (variant, remembered) {
        for (_, write) in &mut txn.puts {
            if let Write::Reign(ReignRecord { after, .. }) = write {
                *after = g;
            }
        }
    }
    txn
}

/// What a driver is told of a shard.
pub(super) fn told(at: usize, script: &Script, shards: &[Arc<Shard>], variant: Variant) -> View {
    let mut view = shards[at].view();
    let Some((revision, Ok(fence))) = &mut view.fence else { return view };
    let target = ShardUid(script.target as u128 + 1);
    let granted = shards.iter().find_map(|s| match s.state() {
        Some(State::Flipping { target, target_epoch, .. }) if target.0 as usize == at + 1 => {
            s.fence.as_ref().map(|(_, fence)| (fence.n, *target_epoch))
        }
        _ => None,
    });
    match (variant, granted) {
        (Variant::AnyEpochReopens, Some((n, epoch))) if *revision > epoch => {
            fence.n = n - 1;
            fence.state = State::Standby { peer: target };
        }
        (Variant::FinishedBlindly, Some((n, _))) => {
            fence.n = n;
        }
        (Variant::NoClaim, _) if at == script.source => match &mut fence.state {
            State::Open { peer: Some(peer) } | State::Sealed { peer: Some(peer), .. } => *peer = target,
            State::Flipping { target: named, .. } => *named = target,
            _ => {}
        },
        _ => {}
    }
    view
}
