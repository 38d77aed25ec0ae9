//! Requests that are not transactions, from the virtual line to the raw one. Each gets fields appended, which override what
//! the client sent: so the message must have passed the strict scan of [`crate::request`].

use super::RequestError;
use super::line::{Down, Line};
use super::select::{self, Select};
use crate::field::{Fields, Malformed};
use crate::patch::Patch;
use crate::request;

/// The fields of RangeRequest.
const LIMIT: u32 = 3;
const REVISION: u32 = 4;
const SORT_ORDER: u32 = 5;
const SORT_TARGET: u32 = 6;
const KEYS_ONLY: u32 = 8;
/// `min_mod_revision`, `max_mod_revision`, `min_create_revision`, `max_create_revision`.
const BOUNDS: [u32; 4] = [10, 11, 12, 13];

/// The fields of WatchCreateRequest and of CompactionRequest.
const START_REVISION: u32 = 3;
const COMPACT_REVISION: u32 = 1;

/// What becomes of a RangeRequest.
#[derive(Debug, Clone, Default)]
pub struct RangeRewrite {
    /// What to append to the request; empty: nothing.
    pub patch: Patch,
    /// What the shard cannot judge was taken from the request, and is to be done with the reply
    /// ([`super::Kind::Selected`]): it then holds all pairs of the range, so the request cannot be a RangeStream.
    pub select: Option<Select>,
}

/// Translates a RangeRequest for the shard of this reign.
///
/// # Errors
/// It reads at a revision of another reign, or at one that is compacted.
pub fn range(message: &[u8], line: &impl Line) -> Result<RangeRewrite, RequestError> {
    let range = request::range(message)?;
    let mut patch = match raw(range.revision, line)? {
        raw if raw == range.revision => Patch::new(),
        raw => Patch::new().int64(REVISION, raw),
    };
    if range.count_only || !(range.filtered || range.sort_target != select::KEY) {
        // Neither filters nor order change a count.
        return Ok(RangeRewrite { patch, select: None });
    }
    let bounds = bounds(message)?;
    let raw_bounds = bounds.map(|bound| same_on_shard(bound, line));
    let older = *line.span().start() > 1;
    let by_number = matches!(range.sort_target, select::VERSION | select::CREATE | select::MOD);
    if raw_bounds.contains(&None) || (older && by_number) {
        let select = Select::new(&range, bounds);
        patch = patch.int64(LIMIT, select.shard_limit()).int64(SORT_ORDER, 0).int64(SORT_TARGET, 0);
        if select.keys_only {
            patch = patch.int64(KEYS_ONLY, 0);
        }
        for (field, _) in BOUNDS.into_iter().zip(bounds).filter(|(_, bound)| *bound != 0) {
            patch = patch.int64(field, 0);
        }
        return Ok(RangeRewrite { patch, select: Some(select) });
    }
    for ((field, bound), raw) in BOUNDS.into_iter().zip(bounds).zip(raw_bounds) {
        if let Some(raw) = raw
            && raw != bound
        {
            patch = patch.int64(field, raw);
        }
    }
    Ok(RangeRewrite { patch, select: None })
}

fn bounds(message: &[u8]) -> Result<[i64; 4], Malformed> {
    let mut bounds = [0; 4];
    for field in Fields::new(message) {
        let field = field?;
        if let Some(i) = BOUNDS.iter().position(|number| *number == field.number) {
            bounds[i] = field.int64()?;
        }
    }
    Ok(bounds)
}

/// The raw number that every key, copied or not, compares with as its virtual one does with this. `None` if there is none:
/// keys of the copy may lie on either side of it.
pub(super) fn same_on_shard(revision: i64, line: &impl Line) -> Option<i64> {
    if revision <= 0 {
        return Some(revision);
    }
    match line.down(revision) {
        Down::Raw(raw) => Some(raw),
        Down::Elsewhere | Down::Compacted => None,
    }
}

/// The raw revision of this reign; what is not above 0 stays as it is, and means to etcd what it meant.
fn raw(revision: i64, line: &impl Line) -> Result<i64, RequestError> {
    if revision <= 0 {
        return Ok(revision);
    }
    match line.down(revision) {
        Down::Raw(raw) => Ok(raw),
        Down::Elsewhere => Err(RequestError::OtherReign(revision)),
        Down::Compacted => Err(RequestError::Compacted(revision)),
    }
}

/// Translates a WatchCreateRequest that starts at `start_revision`: what to append to it.
///
/// A watch from now on (0) starts at `next`, the raw revision behind the last that is known to be shown, or at the first
/// of the reign: a lagging member's "now" may lie in the copy. A start below 0 stays as it is, and etcd refuses it.
///
/// # Errors
/// It starts in another reign, or at a revision that is compacted.
pub fn watch_create(start_revision: i64, next: i64, line: &impl Line) -> Result<Patch, RequestError> {
    let start = match start_revision {
        0 => next.max(*line.span().start()),
        _ => raw(start_revision, line)?,
    };
    Ok(if start == start_revision { Patch::new() } else { Patch::new().int64(START_REVISION, start) })
}

/// Translates a CompactionRequest: what to append to it.
///
/// # Errors
/// Its revision lies in another reign, or is compacted.
pub fn compact(message: &[u8], line: &impl Line) -> Result<Patch, RequestError> {
    let revision = request::int64_field(message, COMPACT_REVISION)?;
    let raw = raw(revision, line)?;
    Ok(if raw == revision { Patch::new() } else { Patch::new().int64(COMPACT_REVISION, raw) })
}
