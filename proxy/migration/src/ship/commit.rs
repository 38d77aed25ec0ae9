//! One transaction on the standby, until it is known what became of it.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_ownership::{Stored, keys};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{RequestOp, TxnRequest, TxnResponse};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::Status;
use tokio::time::Instant;

use super::ShipError;
use super::applier::Applier;
use super::io::{self, Shard, delete, get, is_unfit, lacks_lease, put, ranges_of, unmoved};
use super::progress::Progress;

const MIN_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// A key and its record, put or deleted.
#[derive(Debug)]
pub(super) enum Write {
    Put { kv: KeyValue, record: ProvenanceRecord },
    Delete(Bytes),
}

/// What a transaction does beside storing the progress.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) writes: Vec<Write>,
    /// Keys, with their mod revisions on the standby, that must not have changed: expiry writes there too.
    pub(super) unmoved: Vec<(Bytes, i64)>,
}

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Committed {
    /// Applied, at this raw revision of the standby.
    At(i64),
    /// Not applied: a key had changed.
    Moved,
    /// Not applied: the standby does not take such a transaction.
    Unfit(Status),
}

impl Writes {
    fn has_deletes(&self) -> bool {
        self.writes.iter().any(|write| matches!(write, Write::Delete(_)))
    }

    fn leases(&self) -> HashSet<i64> {
        let lease = |write: &Write| match write {
            Write::Put { kv, .. } => Some(kv.lease).filter(|lease| *lease != 0),
            Write::Delete(_) => None,
        };
        self.writes.iter().filter_map(lease).collect()
    }
}

impl Applier {
    /// Applies and stores the progress that goes with it. Comes back when the outcome is certain, however long that takes:
    /// what may still be on its way cannot be applied any more.
    pub(super) async fn commit(
        &mut self,
        writes: &Writes,
        mut after: Progress,
    ) -> Result<Committed, ShipError> {
        self.batches += 1;
        (after.writer, after.batch, after.looked) = (self.writer, self.batches, self.holes.looked());
        let value = Bytes::from(after.encode()?);
        let mut backoff = MIN_BACKOFF;
        let leases = writes.leases();
        loop {
            let request = self.request(writes, value.clone());
            let prepared = self.bringer.prepare(&self.job.to, &leases).await;
            let sent = Instant::now();
            let sent_and_answered = match prepared {
                Ok(()) => Shard(&self.job.to).txn(&request).await,
                Err(error) => Err(error),
            };
            let error = match sent_and_answered {
                Ok(reply) => {
                    self.pace.took(&self.job.to.shard().name, sent.elapsed());
                    let Some(revision) = self.verdict(reply, &after)? else { return Ok(Committed::Moved) };
                    self.trouble(None);
                    self.bringer.written();
                    if writes.has_deletes() {
                        self.holes.deleted(revision);
                    }
                    self.progress = after;
                    self.has_stored(revision);
                    return Ok(Committed::At(revision));
                }
                Err(error) if lacks_lease(&error) => {
                    match self.bringer.mend(&self.job.from, &self.job.to, &leases).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(UpstreamError::Status(status)) if is_unfit(&UpstreamError::Status(status.clone())) => {
                    return Ok(Committed::Unfit(status));
                }
                Err(error) => error,
            };
            tracing::debug!(route = %self.job.route, %error, "a batch was not applied yet");
            self.trouble(Some(&error));
            tokio::select! {
                () = self.cancel.cancelled() => return Err(ShipError::Stopped),
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    fn request(&self, writes: &Writes, progress: Bytes) -> TxnRequest {
        let route = &self.job.route;
        let (fence, stored) = (Bytes::from(keys::fence(route)), Bytes::from(keys::progress(route)));
        let mut compare =
            vec![unmoved(fence.clone(), self.job.stream.epoch), unmoved(stored.clone(), self.stored)];
        compare.extend(writes.unmoved.iter().map(|(key, revision)| unmoved(key.clone(), *revision)));
        let mut success: Vec<RequestOp> = Vec::with_capacity(2 * writes.writes.len() + 1);
        for write in &writes.writes {
            match write {
                Write::Put { kv, record } => {
                    let lease = if kv.lease == 0 { 0 } else { self.bringer.on_standby(kv.lease) };
                    let provenance = keys::provenance(route, &kv.key);
                    success.push(put(kv.key.clone(), kv.value.clone(), lease));
                    success.push(put(provenance.into(), record.encode().to_vec().into(), 0));
                }
                Write::Delete(key) => {
                    success.push(delete(key.clone(), Bytes::new()));
                    success.push(delete(keys::provenance(route, key).into(), Bytes::new()));
                }
            }
        }
        success.push(put(stored.clone(), progress, 0));
        let failure = [fence, stored].map(|key| io::op(Request::RequestRange(get(key)))).into();
        TxnRequest { compare, success, failure }
    }

    /// The revision that the batch was applied at, by this attempt or an earlier one; `None`: it was not, because a key had
    /// changed.
    fn verdict(&self, reply: TxnResponse, after: &Progress) -> Result<Option<i64>, ShipError> {
        if reply.succeeded {
            return Ok(Some(Shard(&self.job.to).revision(&reply)?));
        }
        let found = ranges_of(reply);
        let fence = io::mod_revision(found.first());
        let stored = found.get(1).and_then(|range| range.kvs.first());
        let revision = stored.map_or(0, |kv| kv.mod_revision);
        if fence == self.job.stream.epoch {
            if revision == self.stored {
                return Ok(None);
            }
            let ours = |progress: Progress| (progress.writer, progress.batch) == (after.writer, after.batch);
            if stored.is_some_and(|kv| Progress::decode(&kv.value).is_ok_and(ours)) {
                return Ok(Some(revision));
            }
        }
        Err(self.refused(fence, revision).into())
    }

    /// The standby did not take a transaction of so many keys: smaller ones from now on.
    pub(super) fn shrink(
        &mut self,
        keys: usize,
        first: Option<&Bytes>,
        status: Status,
    ) -> Result<(), ShipError> {
        if keys > 1 {
            self.limits.halve();
            return Ok(());
        }
        let key = first.map(|key| key.escape_ascii().to_string()).unwrap_or_default();
        Err(ShipError::TooLarge { shard: Shard(&self.job.to).name(), key, status })
    }
}
