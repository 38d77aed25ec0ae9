//! The formulas of a moved route, tried on random histories: three small stores with revisions of their own, between which
//! one route moves by the rules of a migration, and beside them one store that is written as clients saw it. Whatever is
//! read through the translation must be what the one store has.
//!
//! Each rule can be broken ([`Rules`]), to see that the comparison notices.

pub mod check;
pub mod copy;
pub mod line;
pub mod store;
pub mod world;

/// Which rules hold. All of them by default.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The first apply of a stint remembers by how much the key's version is ahead of its record's.
    pub base: bool,
    /// A raw revision belongs to the reign of its shard that spans it, not to the one that is read.
    pub span_by_shard: bool,
    /// Reigns begin behind the virtual revision of the last, not behind the raw one of its shard.
    pub virtual_g: bool,
    /// Provenance is remembered by reign, not by key.
    pub cache_by_reign: bool,
    /// Between the last revision of a reign and the first raw one of the next, the next begins; the copy is not shown.
    pub gap_is_clamped: bool,
    /// Guards order by virtual revisions, not by the source's raw ones.
    pub virtual_guards: bool,
    /// A delete that is applied takes the provenance and the base with the key.
    pub deletes_take_provenance: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            base: true,
            span_by_shard: true,
            virtual_g: true,
            cache_by_reign: true,
            gap_is_clamped: true,
            virtual_guards: true,
            deletes_take_provenance: true,
        }
    }
}

/// What went wrong.
pub type Wrong = String;
