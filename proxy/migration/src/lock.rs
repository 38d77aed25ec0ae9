//! One driver at a time: a leased key on the target. It only saves work; what is safe is decided by epochs.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_control::call;
use etcd_prism_ownership::migration::DriverClaim;
use etcd_prism_ownership::value::{Stored, ValueError};
use etcd_prism_ownership::{ProxyId, keys};
use etcd_prism_proto::etcdserverpb::PutRequest;
use etcd_prism_upstream::{ShardPool, UpstreamError};
use etcd_prism_wire::keys::KeyRange;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a dead driver's lock stands.
const TTL: i64 = 10;
/// Between two looks whether it is still ours; each renews it.
const LOOK: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(2);

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) proxy: ProxyId,
    /// For people.
    pub(crate) name: String,
}

impl Stored for Holder {
    const WHAT: &'static str = "lock of the driver";
    type Body = Self;

    fn to_body(&self) -> Self {
        self.clone()
    }

    fn from_body(body: Self) -> Result<Self, ValueError> {
        Ok(body)
    }
}

/// The outcome of an attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    Ours(Lock),
    /// Somebody else has it; the name, as far as it can be read.
    Held(String),
}

/// A lock that is ours until [`Self::lost`].
#[derive(Debug)]
pub(crate) struct Lock {
    pool: Arc<ShardPool>,
    lease: i64,
    lost: CancellationToken,
    _renewing: DropGuard,
}

impl Lock {
    /// Takes the lock if nobody has it; with `take_over`, whoever has it.
    pub(crate) async fn attempt(
        pool: &Arc<ShardPool>,
        route: &str,
        me: &DriverClaim,
        take_over: bool,
    ) -> Result<Attempt, UpstreamError> {
        let key = keys::driver(route);
        let (lease, _) = call::grant(pool, TTL, PATIENCE).await?;
        let granted = Instant::now();
        let value = Holder { proxy: me.proxy, name: me.name.clone() };
        let value = value.encode().map_err(|e| call::bad(pool, e.to_string()))?;
        let put = PutRequest { key: key.clone().into(), value: value.into(), lease, ..PutRequest::default() };
        let seen = call::range(KeyRange::single(&key));
        let mut at = 0;
        // Whoever takes over compares with what was found: of two at a time one gives way to the other.
        for _ in 0..4 {
            let compares = [(key.clone(), at)];
            let answers =
                call::put_if(pool, &compares, vec![put.clone()], Some(seen.clone()), PATIENCE).await?;
            if answers.succeeded {
                let lost = CancellationToken::new();
                let renewing = CancellationToken::new();
                let task = renew(pool.clone(), key, answers.revision, lease, granted, lost.clone());
                tokio::spawn(renewing.clone().run_until_cancelled_owned(task));
                let renewing = renewing.drop_guard();
                return Ok(Attempt::Ours(Self { pool: pool.clone(), lease, lost, _renewing: renewing }));
            }
            let found = answers.ranges.first().and_then(|range| range.kvs.first());
            let holder = found.and_then(|kv| Holder::decode(&kv.value).ok());
            at = found.map_or(0, |kv| kv.mod_revision);
            let mine = holder.as_ref().is_some_and(|holder| holder.proxy == me.proxy);
            if !take_over && !mine && at != 0 {
                call::revoke(pool, lease, PATIENCE).await?;
                return Ok(Attempt::Held(holder.map_or_else(|| "another version".to_owned(), |h| h.name)));
            }
        }
        call::revoke(pool, lease, PATIENCE).await?;
        Ok(Attempt::Held("somebody who wants it as much".to_owned()))
    }

    /// Whether the lock names this proxy; also if nobody can tell.
    pub(crate) async fn is_held(pool: Option<&ShardPool>, route: &str, me: ProxyId) -> bool {
        let key = keys::driver(route);
        let Some(pool) = pool else { return true };
        match call::read(pool, vec![call::range(KeyRange::single(&key))], PATIENCE).await {
            Ok(answers) => answers
                .ranges
                .first()
                .and_then(|range| range.kvs.first())
                .and_then(|kv| Holder::decode(&kv.value).ok())
                .is_some_and(|holder| holder.proxy == me),
            Err(_) => true,
        }
    }

    /// Cancelled once it is somebody else's, or may be.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Gives it back. What cannot be reached expires.
    pub(crate) async fn release(self) {
        if let Err(error) = call::revoke(&self.pool, self.lease, PATIENCE).await {
            tracing::debug!(%error, "the driver's lock is left to expire");
        }
    }
}

async fn renew(
    pool: Arc<ShardPool>,
    key: Vec<u8>,
    revision: i64,
    lease: i64,
    granted: Instant,
    lost: CancellationToken,
) {
    let mut renewed = granted;
    let ttl = Duration::from_secs(TTL.unsigned_abs());
    while renewed.elapsed() < ttl {
        tokio::time::sleep(LOOK).await;
        let sent = Instant::now();
        match call::keep_alive(&pool, lease, PATIENCE).await {
            Ok((0, _)) => break,
            Ok(_) => renewed = sent,
            Err(error) => tracing::debug!(%error, "the driver's lock"),
        }
        if let Ok(answers) = call::read(&pool, vec![call::range(KeyRange::single(&key))], PATIENCE).await {
            let found = answers.ranges.first().and_then(|range| range.kvs.first());
            if found.map(|kv| kv.mod_revision) != Some(revision) {
                break;
            }
        }
    }
    lost.cancel();
}
