//! Filters, order and limit of a Range, judged by the numbers that clients know.

use super::ReplyError;
use super::line::{Line, Numbers};
use super::pair::{Body, Pair};
use super::reply::{HEADER, Reply};
use crate::request;

/// What is to be done with the pairs of a reply, after translation: in this order, as etcd does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Select {
    /// Bounds on mod and create revisions; 0: none.
    pub(super) min_mod_revision: i64,
    pub(super) max_mod_revision: i64,
    pub(super) min_create_revision: i64,
    pub(super) max_create_revision: i64,
    /// As in [`request::Range`].
    pub(super) sort_order: i64,
    pub(super) sort_target: i64,
    /// 0 or below: all.
    pub(super) limit: i64,
    /// Values were needed to sort, and are not wanted.
    pub(super) keys_only: bool,
}

/// Values of SortOrder and of SortTarget.
pub(super) const NONE: i64 = 0;
const DESCEND: i64 = 2;
pub(super) const KEY: i64 = 0;
pub(super) const VERSION: i64 = 1;
pub(super) const CREATE: i64 = 2;
pub(super) const MOD: i64 = 3;
pub(super) const VALUE: i64 = 4;

impl Select {
    pub(super) fn new(range: &request::Range<'_>, bounds: [i64; 4]) -> Self {
        let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] = bounds;
        Self {
            min_mod_revision,
            max_mod_revision,
            min_create_revision,
            max_create_revision,
            sort_order: range.sort_order,
            sort_target: range.sort_target,
            limit: range.limit,
            keys_only: range.keys_only && range.sort_target == VALUE,
        }
    }

    fn filters(&self) -> bool {
        [self.min_mod_revision, self.max_mod_revision, self.min_create_revision, self.max_create_revision]
            != [0; 4]
    }

    /// The limit that the shard applies. etcd cuts before it sorts where no order is given, not even that of the target.
    pub(super) fn shard_limit(&self) -> i64 {
        let in_key_order = self.sort_order == NONE || (self.sort_target == KEY && self.sort_order != DESCEND);
        // One more tells whether there are more.
        if in_key_order && !self.filters() && self.limit > 0 { self.limit.saturating_add(1) } else { 0 }
    }

    /// Leaves the pairs that the client gets, and says whether the limit left some out.
    fn apply(&self, pairs: &mut Vec<(Numbers, Pair<'_>)>) -> bool {
        pairs.retain(|(numbers, _)| {
            let within = |value, min, max| (max == 0 || value <= max) && (min == 0 || value >= min);
            within(numbers.mod_revision, self.min_mod_revision, self.max_mod_revision)
                && within(numbers.create_revision, self.min_create_revision, self.max_create_revision)
        });
        // Stable, so equals stay in the order of their keys; etcd promises nothing for them.
        pairs.sort_by(|(a, pair_a), (b, pair_b)| {
            let order = match self.sort_target {
                VERSION => a.version.cmp(&b.version),
                CREATE => a.create_revision.cmp(&b.create_revision),
                MOD => a.mod_revision.cmp(&b.mod_revision),
                VALUE => pair_a.value.cmp(pair_b.value),
                _ => pair_a.key.cmp(pair_b.key),
            };
            if self.sort_order == DESCEND { order.reverse() } else { order }
        });
        let limit = usize::try_from(self.limit).unwrap_or(0);
        let more = limit > 0 && pairs.len() > limit;
        if more {
            pairs.truncate(limit);
        }
        more
    }
}

/// The fields of RangeResponse.
const KVS: u32 = 2;
const MORE: u32 = 3;

impl<'a, L: Line> Reply<'a, L> {
    /// A RangeResponse with more pairs than the client asked for. `count` is right already: it leaves filters and limit out.
    pub(super) fn selected(&mut self, body: Body<'a>, select: &Select) -> Result<(), ReplyError> {
        let mut pairs = Vec::new();
        for field in body.fields() {
            let field = field?;
            if field.number == KVS {
                let pair = Pair::read(body.inner(&field)?, select.keys_only)?;
                // Without what is to be read first there will be no reply at all.
                let numbers = self.shown(&pair)?.unwrap_or_default();
                pairs.push((numbers, pair));
            }
        }
        let more = select.apply(&mut pairs);
        let mut pairs = Some(pairs);
        for field in body.fields() {
            let field = field?;
            match field.number {
                HEADER => self.header(body.inner(&field)?)?,
                KVS => {
                    let Some(pairs) = pairs.take() else { continue };
                    pairs.iter().for_each(|(numbers, pair)| pair.write(KVS, *numbers, &mut self.out));
                    self.out.int64(MORE, i64::from(more));
                }
                MORE => {}
                _ => self.out.keep(body.record(&field)),
            }
        }
        Ok(())
    }
}
