//! Finds migrations that nobody drives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::migration::{Driver, Goal};
use etcd_prism_ownership::{ShardUid, State};
use tokio::time::Instant;

use super::Host;
use super::picture::{Located, Pictures, peer};
use crate::lock::{Attempt, Lock};
use crate::shipping::Route;
use crate::verbs::MAX_PAUSE;

/// Between two looks at the shards.
const INTERVAL: Duration = Duration::from_secs(1);
/// The same while requests wait.
const HURRY: Duration = Duration::from_millis(250);
/// After `--max-pause`, how long a seal or flip may stand. By then its driver would have given it up or finished it, whoever
/// holds the lock; and requests that wait for as long as a shard's `request_timeout` fail.
const ALONE: Duration = Duration::from_secs(3);
/// How long a migration that is over may lack its last write: the lock of whoever would make it stands no longer.
const UNLINKED: Duration = Duration::from_secs(15);
/// The longest wait before a migration is tried again whose driver keeps ending.
const MOST: Duration = Duration::from_secs(60);

/// What is remembered between two looks.
#[derive(Debug, Default)]
struct Memory {
    /// When a seal or flip was first seen: by route, shard and mod revision.
    stuck: BTreeMap<(String, ShardUid, i64), Instant>,
    /// When a migration that is over was first seen to lack its last write: by route, owner and mod revision.
    unlinked: BTreeMap<(String, ShardUid, i64), Instant>,
    /// By route: when a driver may be begun again, and how long the wait after that is.
    later: BTreeMap<String, (Instant, Duration)>,
}

pub(super) async fn run(host: &Arc<Host>) {
    let mut memory = Memory::default();
    loop {
        tokio::time::sleep(if memory.is_empty() { INTERVAL } else { HURRY }).await;
        // The fences are watched anyway: without a migration nothing is asked of the shards.
        if !host.own.is_migrating() && memory.is_empty() {
            continue;
        }
        let pictures = host.pictures().await;
        for seen in [&mut memory.stuck, &mut memory.unlinked] {
            seen.retain(|(route, shard, revision), _| {
                pictures.fence(*shard, route).is_none_or(|(now, _)| now == *revision)
            });
        }
        for route in host.routes.values() {
            if host.running(&route.name).is_some() {
                continue;
            }
            if let Some(pair) = memory.stuck(&pictures, &route.name) {
                // It needs no lock: what it writes is safe, whoever else does the same.
                host.drive(route, pair, Goal::Settle, None);
            } else if let Some(located) =
                memory.unlinked(&pictures, &route.name).or_else(|| pictures.locate(&route.name))
                // Without a record nobody knows what was wanted: `create` again, or `cancel`.
                && located.record.is_some()
                && pictures.holder(located.target, &route.name).is_none()
                && memory.may_try(&route.name)
            {
                take(host, route, &located).await;
            }
        }
    }
}

/// Takes over a migration that nobody drives.
async fn take(host: &Arc<Host>, route: &Arc<Route>, located: &Located) {
    let (Some(record), Some(pool)) = (&located.record, host.shards.pool(located.target)) else { return };
    let _verbs = host.verbs.lock().await;
    if host.running(&route.name).is_some() {
        return;
    }
    match Lock::attempt(pool, &route.name, &host.me, false).await {
        Ok(Attempt::Ours(lock)) => {
            // Whoever moves the route back meanwhile has the lock of the other shard.
            let is_over = record.phase.is_over();
            if is_over && host.pictures().await.holder(located.source, &route.name).is_some() {
                lock.release().await;
                return;
            }
            let pair = (located.source, located.target);
            host.drive(route, pair, Driver::resume(record), Some(lock));
        }
        Ok(Attempt::Held(_)) => {}
        Err(error) => tracing::debug!(route = route.name, %error, "migration: not taken over"),
    }
}

impl Memory {
    /// No seal or flip is waited for.
    fn is_empty(&self) -> bool {
        self.stuck.is_empty()
    }

    /// The shards of a seal or flip that has stood for too long.
    fn stuck(&mut self, pictures: &Pictures, route: &str) -> Option<(ShardUid, ShardUid)> {
        let located = pictures.locate(route)?;
        let record = located.record.as_ref();
        let max = record.map_or(MAX_PAUSE, |record| record.options.max_pause.max(1));
        let bound = Duration::from_millis(max) + ALONE;
        for (shard, revision, fence) in pictures.fences(route) {
            let waits = matches!(fence.state, State::Sealed { claim: None, .. } | State::Flipping { .. });
            if !waits || peer(&fence.state).is_none() {
                continue;
            }
            let key = (route.to_owned(), shard, revision);
            if self.stuck.entry(key).or_insert_with(Instant::now).elapsed() >= bound {
                return Some((located.source, located.target));
            }
        }
        None
    }

    /// A migration that is over and has lacked its last write for longer than anybody takes over it.
    fn unlinked(&mut self, pictures: &Pictures, route: &str) -> Option<Located> {
        let (owner, revision, located) = pictures.unlinked(route)?;
        // Whoever has claimed the route anew holds the lock of the shard that it is to move to.
        if [located.source, located.target].iter().any(|shard| pictures.holder(*shard, route).is_some()) {
            return None;
        }
        let first = self.unlinked.entry((route.to_owned(), owner, revision)).or_insert_with(Instant::now);
        (first.elapsed() >= UNLINKED).then_some(located)
    }

    /// Whether a driver may be begun; if it ends at once, the next one is begun later.
    fn may_try(&mut self, route: &str) -> bool {
        let now = Instant::now();
        let (at, wait) = self.later.get(route).copied().unwrap_or((now, INTERVAL));
        if now < at {
            return false;
        }
        // Whoever drove for a while begins with the shortest wait again.
        let wait = if now.duration_since(at) > MOST { INTERVAL } else { wait };
        self.later.insert(route.to_owned(), (now + wait, (wait * 2).min(MOST)));
        true
    }
}

#[cfg(test)]
mod tests {
    use etcd_prism_ownership::{DefinitionHash, Fence};

    use super::super::picture::{Picture, Seen};
    use super::*;

    const A: ShardUid = ShardUid(1);
    const B: ShardUid = ShardUid(2);

    fn pictures(revision: i64, state: State) -> Pictures {
        let mut ours = Seen::default();
        let fence = Fence { n: 1, definition: DefinitionHash([1; 32]), shard: A, state };
        ours.fences.insert("pods".to_owned(), (revision, Ok(fence)));
        let mut theirs = Seen::default();
        // A driver that has died still has it for a while.
        theirs.holders.insert("pods".to_owned(), "p1".to_owned());
        let picture = |id, seen| Picture { id: Some(id), seen: Ok(seen) };
        Pictures(vec![picture(A, ours), picture(B, theirs)])
    }

    fn sealed() -> State {
        State::Sealed { peer: Some(B), claim: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_seal_that_nobody_lifts_is_settled_after_the_pause_whoever_has_the_lock() {
        let mut memory = Memory::default();
        let stands = pictures(7, sealed());
        assert_eq!(memory.stuck(&stands, "pods"), None);
        tokio::time::advance(Duration::from_millis(MAX_PAUSE) + ALONE - Duration::from_millis(1)).await;
        assert_eq!(memory.stuck(&stands, "pods"), None);
        assert_eq!(memory.stuck(&pictures(8, sealed()), "pods"), None, "another seal");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(memory.stuck(&stands, "pods"), Some((A, B)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_seal_of_a_change_of_routes_is_not_ours() {
        let mut memory = Memory::default();
        let claim = Some(etcd_prism_ownership::Claim(4));
        let other = pictures(7, State::Sealed { peer: None, claim });
        memory.stuck(&other, "pods");
        tokio::time::advance(MOST).await;
        assert_eq!(memory.stuck(&other, "pods"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_keeps_ending_is_begun_less_and_less_often() {
        let mut memory = Memory::default();
        let mut begun = 0;
        for _ in 0..120 {
            begun += u32::from(memory.may_try("pods"));
            tokio::time::advance(INTERVAL).await;
        }
        assert!((6..=8).contains(&begun), "{begun}");
        tokio::time::advance(MOST * 3).await;
        assert!(memory.may_try("pods"));
        tokio::time::advance(INTERVAL).await;
        assert!(memory.may_try("pods"));
    }
}
