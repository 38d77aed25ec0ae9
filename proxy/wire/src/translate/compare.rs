//! Compares of a transaction, from the virtual line to the raw one.
//!
//! Within a reign a key that came with the copy is in one of three states: as it was when the reign began, of the same
//! life but written since, or gone (and perhaps created anew). Its revisions from before never come back. So whoever has
//! seen the key once within the reign can say a compare of its revisions in raw numbers, exactly and for good.

use std::collections::HashMap;

use bytes::Bytes;

use super::guard::Guard;
use super::line::{Line, Lookup, Numbers, is_older, shown};
use super::request::same_on_shard;
use super::{ReplyError, RequestError};
use crate::field::{Fields, Malformed};
use crate::patch::Patch;

/// A key's raw numbers as they were at some moment within the reign, be it long ago; all 0: it was not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyState {
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
}

/// The fields of Compare.
const RESULT: u32 = 1;
const TARGET: u32 = 2;
const KEY: u32 = 3;
const RANGE_END: u32 = 64;

/// Values of CompareTarget, and their fields.
const VERSION: i32 = 0;
const CREATE: i32 = 1;
const MOD: i32 = 2;
const FIELDS: [u32; 3] = [4, 5, 6];

/// Values of CompareResult.
const EQUAL: i32 = 0;
const GREATER: i32 = 1;
const LESS: i32 = 2;
const NOT_EQUAL: i32 = 3;

/// A Compare of a number.
struct Compare<'a> {
    key: &'a [u8],
    is_range: bool,
    result: i32,
    target: i32,
    /// The field of the number.
    field: u32,
    number: i64,
}

/// What becomes of a Compare.
pub(super) enum Rewrite<'a> {
    /// This is appended to it; empty: nothing.
    Patch(Patch),
    /// The same, and it means what it should only while the guard holds.
    Guarded(Patch, Guard<'a>),
    /// This key, and its provenance, must be read first.
    Read(&'a [u8]),
}

/// Reads a Compare as etcd does; `None` if it is not one of a version or revision.
fn read(message: &[u8]) -> Result<Option<Compare<'_>>, Malformed> {
    let mut compare = Compare { key: b"", is_range: false, result: 0, target: 0, field: 0, number: 0 };
    // The last member of the union that is set.
    let mut union = (0, 0);
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            RESULT => compare.result = field.int64()? as i32,
            TARGET => compare.target = field.int64()? as i32,
            KEY => compare.key = field.bytes()?,
            4..=6 | 8 => union = (field.number, field.int64()?),
            7 => union = (7, 0),
            RANGE_END => compare.is_range = !field.bytes()?.is_empty(),
            _ => {}
        }
    }
    let Some(field) = usize::try_from(compare.target).ok().and_then(|target| FIELDS.get(target)) else {
        return Ok(None);
    };
    compare.field = *field;
    compare.number = if union.0 == *field { union.1 } else { 0 };
    // A result that does not exist holds always.
    Ok(Some(compare).filter(|compare| (EQUAL..=NOT_EQUAL).contains(&compare.result)))
}

/// Translates one Compare. The outcome [`Rewrite::Read`] names the key.
pub(super) fn compare<'a>(
    message: &'a [u8],
    line: &impl Line,
    seen: &HashMap<Bytes, KeyState>,
) -> Result<Rewrite<'a>, RequestError> {
    let Some(compare) = read(message)? else { return Ok(Rewrite::Patch(Patch::new())) };
    let same = match compare.target {
        // What exists has a version above 0, on either line.
        VERSION => Some(compare.number).filter(|number| *number <= 0 || *line.span().start() <= 1),
        _ => same_on_shard(compare.number, line),
    };
    if let Some(raw) = same {
        return Ok(Rewrite::Patch(compare.with(compare.result, raw)));
    }
    if compare.is_range {
        return Err(RequestError::RangeCompare);
    }
    let Some(state) = seen.get(compare.key) else {
        return Ok(compare.by_provenance(line).map_or(Rewrite::Read(compare.key), Rewrite::Patch));
    };
    let raw = Numbers {
        create_revision: state.create_revision,
        mod_revision: state.mod_revision,
        version: state.version,
    };
    let old = if is_older(line, raw.create_revision) {
        let Some(shown) = shown(line, compare.key, raw)? else { return Ok(Rewrite::Read(compare.key)) };
        Some((shown, raw))
    } else {
        None
    };
    if compare.target == VERSION {
        return compare.version(old);
    }
    let old = old.map(|(shown, raw)| match compare.target {
        CREATE => (shown.create_revision, raw.create_revision),
        _ => (shown.mod_revision, raw.mod_revision),
    });
    Ok(Rewrite::Patch(compare.revision(old, *line.span().start())))
}

impl<'a> Compare<'a> {
    /// What turns it into a compare with this number.
    fn with(&self, result: i32, number: i64) -> Patch {
        let mut patch = Patch::new();
        if result != self.result {
            patch = patch.varint(RESULT, result as u64);
        }
        if number != self.number {
            patch = patch.int64(self.field, number);
        }
        patch
    }

    /// Where the copy brought the very revision that is asked for, the key itself need not be looked at: what it has been
    /// since lies above it on both lines.
    fn by_provenance(&self, line: &impl Line) -> Option<Patch> {
        match line.provenance(self.key) {
            Lookup::Found(record) if self.target == MOD && record.mod_revision == self.number => {
                Some(self.with(self.result, record.raw_mod_revision))
            }
            _ => None,
        }
    }

    /// A compare of mod or create revisions with one from before the reign. `old` is what the key had, virtual and raw; the
    /// only such revision that it may still have, since all that come later lie above on both lines, or are 0.
    fn revision(&self, old: Option<(i64, i64)>, first: i64) -> Patch {
        /// No key has it, and all have more.
        const NEVER: i64 = -1;
        let (result, raw) = match (self.result, old) {
            (EQUAL | NOT_EQUAL, Some((shown, raw))) if shown == self.number => (self.result, raw),
            (EQUAL | NOT_EQUAL, _) => (self.result, NEVER),
            (LESS, Some((shown, _))) if shown < self.number => (LESS, first),
            (LESS, _) => (LESS, 1),
            (_, Some((shown, _))) if shown <= self.number => (GREATER, first - 1),
            _ => (GREATER, 0),
        };
        self.with(result, raw)
    }

    /// A compare of versions. `old` are the numbers, virtual and raw, of a life that began before the reign: while it lasts
    /// the two versions differ by a constant.
    fn version(&self, old: Option<(Numbers, Numbers)>) -> Result<Rewrite<'a>, RequestError> {
        let Some((shown, raw)) = old else { return Ok(Rewrite::Patch(Patch::new())) };
        let ahead = shown.version.checked_sub(raw.version).ok_or(RequestError::Provenance)?;
        if ahead == 0 {
            return Ok(Rewrite::Patch(Patch::new()));
        }
        // No version comes near the ends, so one that would lie behind them decides as the end does.
        let number = self.number.saturating_sub(ahead);
        let guard = Guard { key: self.key, create_revision: raw.create_revision };
        Ok(Rewrite::Guarded(self.with(self.result, number), guard))
    }
}

impl From<ReplyError> for RequestError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Malformed(error) => error.into(),
            ReplyError::Outside(outside) => outside.into(),
            ReplyError::Unread(keys) => RequestError::Unread(keys),
            ReplyError::Provenance => RequestError::Provenance,
        }
    }
}
