//! Ranges and compares.

use std::cmp::Ordering;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use etcd_prism_proto::etcdserverpb::{Compare, RangeRequest, RangeResponse, ResponseHeader};
use etcd_prism_proto::mvccpb::KeyValue;

use super::Refusal;
use super::store::Store;

impl Store {
    /// Whether a range may be read at the revision that it names, where the store has (or is about to have) `reached`.
    pub(super) fn check_range(&self, range: &RangeRequest, reached: i64) -> Result<(), Refusal> {
        if range.key.is_empty() {
            return Err(Refusal::EmptyKey);
        }
        match range.revision {
            0 => Ok(()),
            revision if revision > reached => Err(Refusal::Future),
            revision if revision < self.compacted() => Err(Refusal::Compacted),
            _ => Ok(()),
        }
    }

    /// A range that was checked.
    pub(super) fn range(&self, range: &RangeRequest, reached: i64) -> RangeResponse {
        let header = Some(ResponseHeader { revision: reached, ..ResponseHeader::default() });
        let found = self.keys(&range.key, &range.range_end, range.revision.max(0));
        if range.count_only {
            let count = i64::try_from(found.count()).unwrap_or(i64::MAX);
            return RangeResponse { header, count, ..RangeResponse::default() };
        }
        let mut kvs: Vec<KeyValue> = found.cloned().collect();
        let count = i64::try_from(kvs.len()).unwrap_or(i64::MAX);
        let within =
            |found: i64, min: i64, max: i64| (min == 0 || found >= min) && (max == 0 || found <= max);
        kvs.retain(|kv| {
            within(kv.mod_revision, range.min_mod_revision, range.max_mod_revision)
                && within(kv.create_revision, range.min_create_revision, range.max_create_revision)
        });
        sort(&mut kvs, range);
        let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if range.keys_only {
            // etcd 3.7 answers from its index, which knows no leases; it needs the values themselves to sort by them.
            let from_index = range.sort_target() != SortTarget::Value;
            for kv in &mut kvs {
                kv.value = Bytes::new();
                kv.lease = if from_index { 0 } else { kv.lease };
            }
        }
        RangeResponse { header, kvs, more, count }
    }

    pub(super) fn holds(&self, compares: &[Compare]) -> bool {
        compares.iter().all(|compare| {
            let mut found = self.keys(&compare.key, &compare.range_end, 0).peekable();
            if found.peek().is_none() {
                return compare.target() != CompareTarget::Value && matches(compare, &KeyValue::default());
            }
            found.all(|kv| matches(compare, kv))
        })
    }
}

fn matches(compare: &Compare, kv: &KeyValue) -> bool {
    let (found, wanted) = match &compare.target_union {
        Some(TargetUnion::Version(wanted)) => (kv.version, *wanted),
        Some(TargetUnion::CreateRevision(wanted)) => (kv.create_revision, *wanted),
        Some(TargetUnion::ModRevision(wanted)) => (kv.mod_revision, *wanted),
        Some(TargetUnion::Lease(wanted)) => (kv.lease, *wanted),
        Some(TargetUnion::Value(wanted)) => return decided(compare, kv.value.cmp(wanted)),
        None => match compare.target() {
            CompareTarget::Version => (kv.version, 0),
            CompareTarget::Create => (kv.create_revision, 0),
            CompareTarget::Mod => (kv.mod_revision, 0),
            CompareTarget::Lease => (kv.lease, 0),
            CompareTarget::Value => return decided(compare, kv.value[..].cmp(b"")),
        },
    };
    decided(compare, found.cmp(&wanted))
}

fn decided(compare: &Compare, order: Ordering) -> bool {
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}

/// Among equals the order of the keys stays, in whichever direction.
fn sort(kvs: &mut [KeyValue], range: &RangeRequest) {
    let order = |a: &KeyValue, b: &KeyValue| match range.sort_target() {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match range.sort_order() {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(order),
        SortOrder::Descend => kvs.sort_by(|a, b| order(b, a)),
    }
}
