//! At most one fence of a route is open at any time, by what both shards say of the past.

use std::collections::BTreeMap;

use etcd_prism_ownership::value::Stored;
use etcd_prism_ownership::{Fence, State};
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_tests::watch_check::revision;

use crate::follow::Followed;

/// A fence as it was, with its mod revision.
#[derive(Debug, Clone)]
pub struct Entry {
    revision: i64,
    fence: Fence,
}

/// Everything that a fence has been, in order.
pub fn entries(followed: &Followed) -> Vec<Entry> {
    let entry = |event: &Event| {
        let fence = Fence::decode(&event.kv.as_ref().expect("a key").value);
        Entry { revision: revision(event), fence: fence.expect("a fence") }
    };
    followed.log.events().map(entry).collect()
}

/// Whether clients could write, or could again without anybody else's doing.
fn leads(entry: &Entry) -> bool {
    matches!(entry.fence.state, State::Open { .. } | State::Sealed { .. })
}

/// Each reign is one shard's, and begins when the one before has granted it for good: from then on that one never opens again.
pub fn one_at_a_time(shards: &[Vec<Entry>]) {
    let mut reigns: BTreeMap<u64, usize> = BTreeMap::new();
    for (shard, entry) in shards.iter().enumerate().flat_map(|(at, all)| all.iter().map(move |e| (at, e))) {
        if leads(entry) {
            let before = reigns.insert(entry.fence.n, shard);
            assert!(
                before.is_none_or(|before| before == shard),
                "two shards led reign {}: {shards:?}",
                entry.fence.n
            );
        }
    }
    for ((n, from), (next, to)) in reigns.iter().zip(reigns.iter().skip(1)) {
        let began =
            shards[*to].iter().position(|entry| leads(entry) && entry.fence.n == *next).expect("an entry");
        let epoch = began.checked_sub(1).map(|before| shards[*to][before].revision);
        let granted = shards[*from].iter().position(|entry| {
            let named = matches!(entry.fence.state, State::Flipping { target_epoch, .. } if Some(target_epoch) == epoch);
            named && entry.fence.n == *next
        });
        let granted = granted.unwrap_or_else(|| panic!("nobody granted reign {next}: {shards:?}"));
        let later = shards[*from][granted..].iter().find(|entry| leads(entry) && entry.fence.n == *n);
        assert!(later.is_none(), "reign {n} went on beside {next}: {later:?} in {shards:?}");
    }
    assert!(reigns.len() > 2, "it was not moved forth and back: {reigns:?}");
}
