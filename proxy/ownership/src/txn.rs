//! Conditional writes of the proxy's own keys.

use crate::id::ShardUid;
use crate::keys;
use crate::migration::Record;
use crate::value::{Begin, Fence, ReignRecord, Stored, Table, ValueError};

/// `If MOD(key) = mod_revision for each compare Then puts Else [Range of the first compare's key]`, on one shard. Sent
/// nested, so that it passes on a full shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Txn {
    pub shard: ShardUid,
    /// Keys with their mod revisions; 0 means absent. The first one is what the engine wants to know if it fails.
    pub compares: Vec<(Vec<u8>, i64)>,
    pub puts: Vec<(Vec<u8>, Write)>,
}

/// A value to write, not yet encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Write {
    Fence(Fence),
    Reign(ReignRecord),
    Table(Box<Table>),
    Migration(Box<Record>),
}

impl Write {
    /// # Errors
    /// As [`Stored::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, ValueError> {
        match self {
            Self::Fence(fence) => fence.encode(),
            Self::Reign(reign) => reign.encode(),
            Self::Table(table) => table.encode(),
            Self::Migration(record) => record.encode(),
        }
    }
}

impl Txn {
    /// Writes a fence that is at `mod_revision`.
    pub fn fence(route: &str, mod_revision: i64, fence: Fence) -> Self {
        let key = keys::fence(route);
        let shard = fence.shard;
        Self { shard, compares: vec![(key.clone(), mod_revision)], puts: vec![(key, Write::Fence(fence))] }
    }

    /// The same, and creates the record of the reign that the fence opens.
    pub fn opening(route: &str, mod_revision: i64, fence: Fence, begin: Begin) -> Self {
        let Begin { after, floor, since, earlier } = begin;
        let record = ReignRecord { n: fence.n, shard: fence.shard, after, floor, since, earlier };
        let key = keys::reign(route, fence.n);
        let mut txn = Self::fence(route, mod_revision, fence);
        txn.compares.push((key.clone(), 0));
        txn.puts.push((key, Write::Reign(record)));
        txn
    }

    /// Writes the record of a migration, that is at `mod_revision`.
    pub fn migration(route: &str, shard: ShardUid, mod_revision: i64, record: Record) -> Self {
        let key = keys::migration(route);
        let puts = vec![(key.clone(), Write::Migration(Box::new(record)))];
        Self { shard, compares: vec![(key, mod_revision)], puts }
    }

    /// Writes a shard's copy of the table, that is at `mod_revision`.
    pub fn table(shard: ShardUid, mod_revision: i64, table: Table) -> Self {
        let key = keys::TABLE.to_vec();
        Self {
            shard,
            compares: vec![(key.clone(), mod_revision)],
            puts: vec![(key, Write::Table(Box::new(table)))],
        }
    }
}
