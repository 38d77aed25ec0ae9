//! What a shipper tells.

use etcd_prism_ownership::migration::Bound;

use super::ShipError;
use super::progress::Tally;

/// How far a shipper is.
#[derive(Debug, Clone, Default)]
pub struct Shipped {
    /// The stored progress of the standby was read, or begun.
    pub begun: bool,
    /// The standby holds exactly what the owner had at the watermark, as far as is known.
    pub whole: bool,
    /// Keys that may have ended by themselves on the standby, and are being looked at.
    pub holes: usize,
    /// Deletes on the standby are known up to this raw revision of the standby's.
    pub seen: i64,
    /// Every key has been read. It is [whole](Self::whole) once the log has reached what was read.
    pub copied: bool,
    /// Everything the owner did up to this raw revision has been applied, as far as its keys have been copied.
    pub watermark: i64,
    /// The highest raw revision of the owner that was heard of. 0: not known.
    pub owner: i64,
    /// Since the copy began, by this shipper or another one.
    pub tally: Tally,
    /// Keys of the route when this shipper began; `None`: not counted.
    pub expected_keys: Option<u64>,
    /// Keys that this shipper copies per second, over the whole time that it copied.
    pub keys_per_second: f64,
    /// Why it is not faster.
    pub slow: Option<Slow>,
    /// What it has to try again, and since when.
    pub trouble: Option<String>,
    /// The bound that it keeps to.
    pub bound: Option<Bound>,
    /// Why it has ended.
    pub ended: Option<ShipError>,
    /// The newest order that was carried out.
    pub(crate) order: u64,
}

impl Shipped {
    /// Revisions of the owner (of all of its routes) that have not been applied; `None`: not known.
    pub fn lag(&self) -> Option<u64> {
        let known = self.begun && self.owner > 0;
        known.then(|| self.owner.saturating_sub(self.watermark).max(0).unsigned_abs())
    }

    /// Whether the standby holds exactly what the owner had at this raw revision, as far as is known, and this is stored.
    pub fn is_at(&self, raw: i64) -> bool {
        self.whole && self.watermark == raw && self.bound == Some(Bound::At(raw))
    }
}

/// Why the copy is not faster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Slow {
    #[error("the rate is limited")]
    Rate,
    #[error("shard {shard} takes {milliseconds} ms for a request")]
    Latency { shard: String, milliseconds: u64 },
    #[error("shard {shard} is full to {percent} % of its quota")]
    Full { shard: String, percent: i64 },
    #[error("the log of the owner has to catch up first")]
    Log,
    #[error("the switch has stopped it")]
    Bound,
}
