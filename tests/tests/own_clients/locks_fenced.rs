//! Locks and elections under a fence that moves.

use std::time::Duration;

use etcd_prism_proto::v3electionpb::{CampaignRequest, LeaderKey, ProclaimRequest, ResignRequest};
use etcd_prism_proto::v3lockpb::UnlockRequest;
use tokio::time::timeout;
use tonic::Code;

use crate::fences::{fence, raise, sealed};
use crate::site::{Site, grant, lock, unlock, until_waiting, waiting};

const NAME: &str = "/registry/events/lock";
const ROUTE: &str = "events";

/// The shard's own services do not know of fences: what they are asked while the route is sealed is written, behind the
/// back of whoever copies it, and the copy has another holder. Forwarding to them is what the proxy must not do.
#[tokio::test]
async fn ce10_the_services_write_nothing_past_a_fence() {
    let site = Site::start().await;
    let shard = site.direct("b");
    let [one, two] = site.clients();
    let lease = grant(&one, 600).await;
    let held = lock(&one, NAME, lease).await.expect("the lock").key;
    let (other, third) = (grant(&two, 600).await, grant(&one, 600).await);
    let waiter = one.clone();
    let waits = tokio::spawn(async move { lock(&waiter, NAME, third).await });
    until_waiting(&one, NAME, 2).await;
    let open = fence(&shard, ROUTE).await;
    raise(&shard, ROUTE, &sealed(&open)).await;
    // Whatever changes from here on is a write that the fence did not stop. The shard's service takes a waiter's key back.
    let before = waiting(&shard, NAME).await;
    waits.abort();
    let leader = LeaderKey { name: NAME.into(), key: held.clone(), rev: before[0].create_revision, lease };
    let campaign = CampaignRequest { name: NAME.into(), lease: other, value: "x".into() };
    let proclaim = ProclaimRequest { leader: Some(leader.clone()), value: "x".into() };
    let resign = ResignRequest { leader: Some(leader) };
    let (mut locks, elections) = (one.lock(), || two.election());
    let (mut first, mut second, mut third) = (elections(), elections(), elections());
    let ends = tokio::join!(
        async { lock(&two, NAME, other).await.map(drop) },
        async { locks.unlock(UnlockRequest { key: held.clone() }).await.map(drop) },
        async { first.campaign(campaign).await.map(drop) },
        async { second.proclaim(proclaim).await.map(drop) },
        async { third.resign(resign).await.map(drop) },
    );
    let codes = [ends.0, ends.1, ends.2, ends.3, ends.4].map(|end| end.expect_err("sealed").code());
    assert_eq!(codes, [Code::Unavailable; 5]);
    assert_eq!(waiting(&shard, NAME).await, before, "something was written");
    // The danger is real: the shard itself would have.
    let direct = grant(&shard, 600).await;
    let past = tokio::spawn({
        let shard = shard.clone();
        async move { lock(&shard, NAME, direct).await }
    });
    until_waiting(&shard, NAME, before.len() + 1).await;
    past.abort();
    until_waiting(&shard, NAME, before.len()).await;
    // Open again, everything goes on, and the waiter's key is taken back.
    raise(&shard, ROUTE, &open).await;
    assert_eq!(until_waiting(&one, NAME, 1).await[0].key, held);
    unlock(&two, &held).await;
    let next = lock(&two, NAME, other).await.expect("the lock").key;
    unlock(&two, &next).await;
}

#[tokio::test]
async fn ce10_a_wait_survives_fences_that_move() {
    let site = Site::start().await;
    let shard = site.direct("b");
    let [one, two] = site.clients();
    let (first, second) = (grant(&one, 600).await, grant(&two, 600).await);
    let held = lock(&one, NAME, first).await.expect("the lock").key;
    let waiter = two.clone();
    let mut waits = tokio::spawn(async move { lock(&waiter, NAME, second).await });
    let line = until_waiting(&one, NAME, 2).await;
    let open = fence(&shard, ROUTE).await;
    for round in 0..3 {
        raise(&shard, ROUTE, &sealed(&open)).await;
        raise(&shard, ROUTE, &open).await;
        // Reads through both proxies go by the new epoch.
        for client in [&one, &two] {
            assert_eq!(waiting(client, NAME).await, line, "round {round}");
        }
    }
    let early = timeout(Duration::from_millis(300), &mut waits).await;
    assert!(early.is_err(), "{early:?}");
    // It is unlocked while the fence is sealed: that waits, and so does the waiter.
    raise(&shard, ROUTE, &sealed(&open)).await;
    let unlocker = one.clone();
    let unlocks = tokio::spawn(async move { unlock(&unlocker, &held).await });
    let early = timeout(Duration::from_millis(300), &mut waits).await;
    assert!(early.is_err(), "{early:?}");
    assert!(!unlocks.is_finished());
    raise(&shard, ROUTE, &open).await;
    unlocks.await.expect("an unlock");
    let key = waits.await.expect("a task").expect("the lock").key;
    assert_eq!(until_waiting(&one, NAME, 1).await[0].key, key);
}
