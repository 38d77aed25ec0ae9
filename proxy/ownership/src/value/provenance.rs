//! What clients know of a key that another shard wrote first.

use super::{ValueError, malformed};

const WHAT: &str = "provenance record";

/// Under [`crate::keys::provenance`]. Written in one Txn with the copy of its key, so both have one raw mod revision then, and
/// the same raw version ever after unless a client writes the key. It never changes while its shard rules: a key that is
/// written keeps its create revision, and what was created later than the record has nothing to do with it.
///
/// 24 bytes, big-endian: there is one for every copied key, and a list reads them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProvenanceRecord {
    /// Virtual revisions, and the version as clients know it.
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
}

impl ProvenanceRecord {
    pub fn encode(self) -> [u8; 24] {
        let mut out = [0; 24];
        for (place, number) in
            out.chunks_exact_mut(8).zip([self.create_revision, self.mod_revision, self.version])
        {
            place.copy_from_slice(&number.to_be_bytes());
        }
        out
    }

    /// # Errors
    /// It is not such a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        match (numbers, rest) {
            ([create, modified, version], []) => Ok(Self {
                create_revision: i64::from_be_bytes(*create),
                mod_revision: i64::from_be_bytes(*modified),
                version: i64::from_be_bytes(*version),
            }),
            _ => Err(malformed(WHAT, &format!("{} bytes", bytes.len()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let record = ProvenanceRecord { create_revision: 5, mod_revision: i64::MAX, version: 1 };
        assert_eq!(ProvenanceRecord::decode(&record.encode()), Ok(record));
        for bytes in [&b""[..], &[0; 23], &[0; 25], &[0; 32]] {
            assert!(ProvenanceRecord::decode(bytes).is_err());
        }
    }
}
