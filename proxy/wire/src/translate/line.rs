//! What the translation must be told: the lines of one reign, and where copied keys came from.

use std::ops::RangeInclusive;

use super::ReplyError;

/// A raw revision that lies in no reign of its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("raw revision {raw} lies in no reign of the route")]
pub struct Outside {
    pub raw: i64,
}

/// Where a virtual revision above 0 lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// In this reign, at this raw revision (never below its first).
    Raw(i64),
    /// In another reign that is known.
    Elsewhere,
    /// Below the first reign that is known.
    Compacted,
}

/// What came with the copy of a key, from its provenance record on the shard that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance {
    /// Create revision, mod revision and version as clients know them.
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    /// The record's own raw mod revision and version.
    pub raw_mod_revision: i64,
    pub raw_version: i64,
    /// By how much the key's raw version was ahead of the record's before the copy began.
    pub base: i64,
}

/// Whether a key has a provenance record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Nobody looked yet.
    Unread,
    Absent,
    Found(Provenance),
}

/// A route's line as one reign on one shard shows it. All raw revisions are that shard's.
///
/// *Invariant:* provenance does not change within a reign, so it may be remembered for as long, and for no longer. It must
/// have been read at a revision within the reign.
pub trait Line {
    /// The first and the last raw revision of this reign that may be shown; the present reign has no last ([`i64::MAX`]). The
    /// first of a route's first reign is 1: nothing was copied. No client's key was ever written at the first of a later one.
    fn span(&self) -> RangeInclusive<i64>;

    /// The virtual revision of a raw one above 0, by the reign *of this shard* that holds it, be it this one or an earlier.
    ///
    /// # Errors
    /// No reign of this shard holds it.
    fn up(&self, raw: i64) -> Result<i64, Outside>;

    /// Where a virtual revision above 0 lies.
    fn down(&self, revision: i64) -> Down;

    /// What is known of the provenance of a key.
    fn provenance(&self, key: &[u8]) -> Lookup;
}

/// A key's numbers, raw or virtual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) create_revision: i64,
    pub(super) mod_revision: i64,
    pub(super) version: i64,
}

/// [`Line::up`], with 0 for 0.
pub(super) fn up(line: &impl Line, raw: i64) -> Result<i64, Outside> {
    if raw == 0 { Ok(0) } else { line.up(raw) }
}

/// Whether a key with this raw create revision was there when the reign began.
pub(super) fn is_older(line: &impl Line, create_revision: i64) -> bool {
    create_revision != 0 && create_revision < *line.span().start()
}

/// The numbers that clients know of a key; `None` if its provenance has to be read first.
pub(super) fn shown(line: &impl Line, key: &[u8], raw: Numbers) -> Result<Option<Numbers>, ReplyError> {
    let by_reign = || -> Result<Option<Numbers>, ReplyError> {
        Ok(Some(Numbers {
            create_revision: up(line, raw.create_revision)?,
            mod_revision: up(line, raw.mod_revision)?,
            version: raw.version,
        }))
    };
    if !is_older(line, raw.create_revision) {
        return by_reign();
    }
    let record = match line.provenance(key) {
        Lookup::Unread => return Ok(None),
        // A record that is older than the key is that of a namesake, from before it was created here.
        Lookup::Found(record) if raw.create_revision <= record.raw_mod_revision => record,
        _ => return by_reign(),
    };
    let mod_revision = match raw.mod_revision.cmp(&record.raw_mod_revision) {
        std::cmp::Ordering::Less => return Err(ReplyError::Provenance),
        std::cmp::Ordering::Equal => record.mod_revision,
        std::cmp::Ordering::Greater => line.up(raw.mod_revision)?,
    };
    let version = raw
        .version
        .checked_sub(record.raw_version)
        .and_then(|since| since.checked_add(record.version))
        .and_then(|version| version.checked_sub(record.base))
        // Everything that exists was written at least once.
        .filter(|version| *version > 0)
        .ok_or(ReplyError::Provenance)?;
    Ok(Some(Numbers { create_revision: record.create_revision, mod_revision, version }))
}
