//! Small records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{ClusterId, ShardUid};
use crate::timeline::Reign;

/// The protocol between proxies that this version speaks: how fences, sessions and acknowledgements are used.
pub const PROTOCOL: u32 = 2;
/// The first protocol whose proxies take part in migrations.
pub const MIGRATES: u32 = 2;

/// Who a shard is. Created once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    pub id: ShardUid,
    /// Of the etcd cluster that the identity was given to: a backup that was restored as a new cluster has another one.
    pub cluster_id: ClusterId,
    /// The shard's name when the identity was given; for people.
    pub name: String,
}
super::stored!(Identity, "identity of the shard");

/// Where a reign begins. Created with the fence that opens it. Written again only to raise the floor, where what came before
/// is lost for good: then `since` says what the record's mod revision said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReignRecord {
    pub n: u64,
    pub shard: ShardUid,
    /// The last virtual revision of the reign before (G); 0 for the first.
    pub after: i64,
    /// The last revision that another shard may have shown of any of the route's keys; 0 if none has. What lies at or
    /// below it is answered as compacted: this shard's history lacks what happened there.
    pub floor: i64,
    /// The last raw revision of the shard before the reign: up to it the shard was made to hold what the reign before had
    /// left, and whatever happens to the route's keys after it is the reign's own. 0: the one before the record's own mod
    /// revision.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: i64,
    /// The reigns before this one that belong to its line, oldest first: whoever reads this record needs no other to know the
    /// whole line. None where the line begins, or is that of the shard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Reign>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl super::Stored for ReignRecord {
    const WHAT: &'static str = "reign record";
    /// 2 has a line. Who does not know of lines would show the shard's own revisions, so it must not take the record for one
    /// that has none.
    const NEWEST: u32 = 2;
    type Body = Self;

    fn to_body(&self) -> Self {
        self.clone()
    }

    fn format(&self) -> u32 {
        if self.earlier.is_empty() { super::FORMAT } else { Self::NEWEST }
    }

    fn from_body(body: Self) -> Result<Self, super::ValueError> {
        Ok(body)
    }
}

impl ReignRecord {
    /// The line that ends with this reign, oldest reign first; `mod_revision` is the record's own. Where nothing came before,
    /// revisions are the shard's own, whatever `after` says.
    pub fn line(&self, mod_revision: i64) -> Vec<Reign> {
        if self.earlier.is_empty() {
            return vec![Reign { n: self.n, shard: self.shard, after: 0, raw_start: 1 }];
        }
        let mut line = self.earlier.clone();
        line.push(Reign::new(self, mod_revision));
        line
    }

    /// The first raw revision of the reign; `mod_revision` is the record's own.
    pub fn raw_start(&self, mod_revision: i64) -> i64 {
        if self.since > 0 { self.since.saturating_add(1) } else { mod_revision }
    }

    /// This reign on its [`line`](Self::line).
    pub fn on_line(&self, mod_revision: i64) -> Reign {
        match &self.earlier[..] {
            [] => Reign { n: self.n, shard: self.shard, after: 0, raw_start: 1 },
            _ => Reign::new(self, mod_revision),
        }
    }

    /// The floor that proxies keep to; `mod_revision` is the record's own. Never at or above the reign's own revisions: where
    /// the operator let revisions fall, a list would be followed by a watch that is compacted at once, for ever.
    pub fn effective_floor(&self, mod_revision: i64) -> i64 {
        self.floor.min(self.raw_start(mod_revision).saturating_sub(1)).max(0)
    }

    /// The same on the route's line, for proxies that lift reigns: a lifted reign begins above its raw revision.
    pub fn virtual_floor(&self, mod_revision: i64) -> i64 {
        self.floor.min(self.after.max(self.raw_start(mod_revision).saturating_sub(1))).max(0)
    }
}

/// What a change of routes writes into the record of a reign that begins with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Begin {
    /// See [`ReignRecord::after`].
    pub after: i64,
    /// See [`ReignRecord::floor`].
    pub floor: i64,
    /// See [`ReignRecord::since`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since: i64,
    /// See [`ReignRecord::earlier`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Reign>,
}

/// A proxy's presence at a shard. Leased; put again on each acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// [`PROTOCOL`] of the proxy.
    pub protocol: u32,
    /// The proxy's name and the address that clients reach it at; for people.
    pub name: String,
    pub address: String,
    /// When the proxy started, in milliseconds since the epoch; for people.
    pub started: i64,
    /// By route: the mod revision of the fence here that the proxy has acknowledged. Of a seal: it has let go of the route.
    /// Of a standby's fence: it applies what it commits on the owner under this epoch. Mod revisions never repeat, so one is
    /// never taken for the other.
    #[serde(default)]
    pub acks: BTreeMap<String, i64>,
    /// The highest revision of each shard that the proxy has seen.
    #[serde(default)]
    pub revisions: BTreeMap<ShardUid, i64>,
}
super::stored!(Session, "session");

/// A shard was seen at a revision that it fell below later: it was restored from a backup. Kept on the other shards, so that
/// it is known as long as the shard has the identity that it had, whoever restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SeenAt {
    pub revision: i64,
}
super::stored!(SeenAt, "record of a revision");

/// The revisions of all shards at one time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sample {
    /// Home's, read last: what home reached later it reached after the others had reached theirs.
    pub home: i64,
    /// The others'; a shard that did not answer is missing.
    pub others: BTreeMap<ShardUid, i64>,
}

/// The samples by which shards are compacted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Samples {
    /// By ascending revision of home.
    pub samples: Vec<Sample>,
}
super::stored!(Samples, "compaction samples");
