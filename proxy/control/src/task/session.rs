//! Keeps the session at a shard: does what its engine asks for.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::keys;
use etcd_prism_ownership::session::{Acks, Step};
use etcd_prism_ownership::value::{PROTOCOL, Session, Stored};
use etcd_prism_proto::etcdserverpb::PutRequest;
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::Code;
use etcd_prism_wire::keys::KeyRange;

use crate::call;
use crate::ownership::Ownership;
use crate::state::is_denied;

/// Between attempts.
const RETRY: Duration = Duration::from_millis(200);
/// Between attempts at a shard that is full or does not let us: only an operator changes that.
const SLOW_RETRY: Duration = Duration::from_secs(5);

/// Between looks whether the shard has been identified.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a step was not done.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("the shard is full, so it takes no lease and no session; reads are fenced meanwhile")]
    Full,
    #[error("the shard has an identity problem")]
    Problem,
    #[error("the shard is not identified yet")]
    Unidentified,
}

impl Failure {
    fn retry(&self) -> Duration {
        match self {
            Self::Full => SLOW_RETRY,
            Self::Upstream(error) if is_denied(error) => SLOW_RETRY,
            _ => RETRY,
        }
    }
}

pub(crate) async fn run(own: Arc<Ownership>, shard: ShardId) {
    let signal = &own.signals.shard(shard).session;
    let mut changes = own.subscribe();
    loop {
        let (step, closed) = {
            let state = own.state.lock();
            (state.shard(shard).session.step(), state.closed)
        };
        if closed {
            return;
        }
        if step == Step::Settled {
            signal.notified().await;
            continue;
        }
        let outcome = take(&own, shard, step).await;
        let error = outcome.as_ref().err().map(ToString::to_string);
        let state_changed = own.state.lock().shard(shard).session_error != error;
        if state_changed {
            if let Some(error) = &error {
                tracing::info!(shard = %own.pools[usize::from(shard.0)].shard().name, error, "no session yet");
            }
            own.state.lock().shard_mut(shard).session_error = error;
        }
        match outcome {
            Ok(()) => {}
            Err(Failure::Unidentified) => {
                // Whoever creates the table changes what is shown of the routes.
                tokio::time::timeout(PATIENCE, changes.changed()).await.ok();
            }
            Err(failure) => tokio::time::sleep(failure.retry()).await,
        }
    }
}

async fn take(own: &Ownership, shard: ShardId, step: Step) -> Result<(), Failure> {
    match step {
        Step::Settled => Ok(()),
        Step::Grant => grant(own, shard).await,
        Step::Put { lease, mod_revision, acks } => put(own, shard, lease, mod_revision, acks).await,
        Step::ReadFences(turn) => {
            own.read(shard).await?;
            own.update(|state| state.shard_mut(shard).session.fences_read(turn));
            Ok(())
        }
        Step::Check(turn) => {
            if own.check(shard) {
                own.update(|state| state.shard_mut(shard).session.checked(turn));
                return Ok(());
            }
            // What was missing may be there by now: a table, an identity.
            own.read(shard).await?;
            if own.check(shard) { Ok(()) } else { Err(Failure::Unidentified) }
        }
    }
}

impl Ownership {
    fn check(&self, shard: ShardId) -> bool {
        let state = self.state.lock();
        let facts = state.shard(shard);
        facts.identified && facts.problem.is_none()
    }
}

async fn grant(own: &Ownership, shard: ShardId) -> Result<(), Failure> {
    // A restored shard must not be written to, or its revision grows to where it was.
    if own.state.lock().shard(shard).problem.is_some() {
        return Err(Failure::Problem);
    }
    let pool = &own.pools[usize::from(shard.0)];
    let sent = own.hub.clock.now();
    let (lease, ttl) = match call::grant(pool, own.options.ttl_seconds(), own.options.patience()).await {
        Ok(granted) => granted,
        Err(error) if call::is_full(&error) => return Err(Failure::Full),
        Err(error) => return Err(error.into()),
    };
    let ttl = ttl.unsigned_abs().saturating_mul(1_000_000_000);
    own.update(|state| state.shard_mut(shard).session.granted(lease, sent, ttl));
    own.signals.shard(shard).renew.notify_one();
    Ok(())
}

async fn put(
    own: &Ownership,
    shard: ShardId,
    lease: i64,
    mod_revision: i64,
    acks: Acks,
) -> Result<(), Failure> {
    let pool = &own.pools[usize::from(shard.0)];
    let key = keys::session(own.id);
    let session = Session {
        protocol: PROTOCOL,
        name: own.options.name.clone(),
        address: own.options.address.clone(),
        started: own.started,
        acks: acks.clone(),
        revisions: own.state.lock().known.clone(),
    };
    let value = session.encode().map_err(|e| call::bad(pool, e.to_string()))?;
    let put = PutRequest { key: key.clone().into(), value: value.into(), lease, ..PutRequest::default() };
    let seen = call::range(KeyRange::single(&key));
    let compares = [(key.clone(), mod_revision)];
    match call::put_if(pool, &compares, vec![put], Some(seen), own.options.patience()).await {
        Ok(answers) if answers.succeeded => {
            own.update(|state| {
                let facts = state.shard_mut(shard);
                facts.was_written();
                facts.session_written = answers.revision;
                facts.session.written(lease, answers.revision, acks);
            });
            Ok(())
        }
        Ok(answers) => {
            let found = answers.ranges.first().and_then(|r| r.kvs.first()).map_or(0, |kv| kv.mod_revision);
            own.update(|state| {
                let facts = state.shard_mut(shard);
                facts.was_written();
                facts.session.refused(found);
            });
            Ok(())
        }
        Err(UpstreamError::Status(status)) if status.code == Code::NotFound => {
            own.lose(shard, "its lease is gone");
            Ok(())
        }
        Err(error) if call::is_full(&error) => Err(Failure::Full),
        Err(error) => {
            own.update(|state| state.shard_mut(shard).write_failed(&error));
            Err(error.into())
        }
    }
}

impl Ownership {
    /// The session at the shard does not count any more.
    pub(crate) fn lose(&self, shard: ShardId, reason: &str) {
        let stood = self.update(|state| {
            let session = &mut state.shard_mut(shard).session;
            let stood = session.deadline().is_some();
            session.lost();
            stood
        });
        // Whatever the reason, who answers there is to be looked at.
        self.signals.shard(shard).reread.notify_one();
        if stood {
            let name = self.pools[usize::from(shard.0)].shard().name.clone();
            tracing::info!(shard = %name, reason, "session lost");
            metrics::counter!("etcd_prism_session_losses_total", "shard" => name).increment(1);
        }
    }
}
