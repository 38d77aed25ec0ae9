//! Leases, on simulated time.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::Refusal;
use super::store::{Changes, Store};

#[derive(Debug)]
pub(super) struct Lease {
    /// In seconds.
    pub(super) ttl: i64,
    pub(super) ends: Duration,
    pub(super) keys: BTreeSet<Bytes>,
}

/// The least TTL of an etcd with the usual election timeout of one second.
const MIN_TTL: i64 = 2;

impl Store {
    pub(super) fn grant(&mut self, id: i64, ttl: i64, now: Duration) -> Result<(i64, i64), Refusal> {
        if self.full {
            return Err(Refusal::Full);
        }
        let id = if id == 0 { self.next_lease } else { id };
        if self.leases.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }
        self.next_lease += 1;
        let ttl = ttl.max(MIN_TTL);
        self.leases.insert(id, Lease { ttl, ends: now + seconds(ttl), keys: BTreeSet::new() });
        Ok((id, ttl))
    }

    /// The TTL; `None`: there is no such lease.
    pub(super) fn renew(&mut self, id: i64, now: Duration) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        lease.ends = now + seconds(lease.ttl);
        Some(lease.ttl)
    }

    pub(super) fn renew_all(&mut self, now: Duration) {
        for lease in self.leases.values_mut() {
            lease.ends = now + seconds(lease.ttl);
        }
    }

    pub(super) fn revoke(&mut self, id: i64) -> Result<(), Refusal> {
        self.end(id, false)
    }

    pub(super) fn expire(&mut self, now: Duration) {
        let ended: Vec<i64> = self.leases.iter().filter(|(_, l)| l.ends <= now).map(|(id, _)| *id).collect();
        for id in ended {
            self.end(id, true).expect("a lease that is there");
        }
    }

    fn end(&mut self, id: i64, expired: bool) -> Result<(), Refusal> {
        let lease = self.leases.remove(&id).ok_or(Refusal::NoLease)?;
        let mut changes = Changes::default();
        for key in &lease.keys {
            self.delete(&mut changes, key);
        }
        self.commit(changes, expired);
        Ok(())
    }

    pub(super) fn attach(&mut self, key: &Bytes, from: i64, to: i64) {
        if let Some(lease) = self.leases.get_mut(&from) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.leases.get_mut(&to) {
            lease.keys.insert(key.clone());
        }
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(ttl.unsigned_abs())
}
