//! A proxy that was asleep while a route was closed.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{DeleteRangeRequest, LeaseLeasesRequest, PutRequest};
use etcd_prism_proto::v3electionpb::{CampaignRequest, LeaderRequest};
use etcd_prism_tests::request::put;
use etcd_prism_tests::wait;
use tokio::time::timeout;

use crate::fences::{fence, raise, sealed};
use crate::site::{Site, grant, lock, until_waiting};

const LOCK: &str = "/registry/events/lock";
const ELECTION: &str = "/registry/events/election";
const ROUTE: &str = "events";

/// Once a route has been closed, its shard is cleaned up, or is told what happened elsewhere. A proxy that wakes up then is
/// told of these writes by its watches. One that believes them gives the lock to a second holder, because the first one's key
/// was cleaned up, and shows a leader that is none of this shard's.
#[tokio::test]
async fn ce36_a_woken_proxy_does_not_believe_its_watches() {
    let mut site = Site::start().await;
    let shard = site.direct("b");
    let [one, two] = site.clients();
    let lease = [grant(&one, 600).await, grant(&two, 600).await];
    let held = lock(&one, LOCK, lease[0]).await.expect("the lock").key;
    let campaign = CampaignRequest { name: ELECTION.into(), lease: lease[0], value: "led".into() };
    let leader = one.election().campaign(campaign).await.expect("the lead").into_inner().leader;
    let leader = leader.expect("a leader").key;
    let waiter = two.clone();
    let mut waits = tokio::spawn(async move { lock(&waiter, LOCK, lease[1]).await });
    until_waiting(&one, LOCK, 2).await;
    let request = LeaderRequest { name: ELECTION.into() };
    let mut observer = two.election().observe(request).await.expect("a stream").into_inner();
    let value = async |next: Option<etcd_prism_proto::v3electionpb::LeaderResponse>| {
        next.expect("a stream that goes on").kv.expect("a key").value
    };
    let first = timeout(wait::DEADLINE, observer.message()).await.expect("in time").expect("a leader");
    assert_eq!(value(first).await, "led");

    site.pause_proxy(1).await;
    let open = fence(&shard, ROUTE).await;
    raise(&shard, ROUTE, &sealed(&open)).await;
    let clean_up = DeleteRangeRequest { key: held.clone(), ..DeleteRangeRequest::default() };
    shard.kv().delete_range(clean_up).await.expect("a deletion");
    let elsewhere = PutRequest { lease: lease[0], ..put(&leader, "of elsewhere") };
    shard.kv().put(elsewhere).await.expect("a write");
    // Longer than its session lasts: the other proxy's is left, and the client's lease.
    wait::until("the end of its session", async || {
        let all = shard.lease().lease_leases(LeaseLeasesRequest::default()).await.expect("a list");
        let sessions = all.into_inner().leases.into_iter().filter(|l| !lease.contains(&l.id)).count();
        if sessions == 1 { Ok(()) } else { Err(sessions) }
    })
    .await;
    site.proxies[1].resume();

    let early = timeout(Duration::from_secs(3), async {
        tokio::select! {
            lock = &mut waits => format!("the lock: {lock:?}"),
            leader = observer.message() => format!("a leader: {leader:?}"),
        }
    })
    .await;
    assert!(early.is_err(), "{early:?}");
    // It was awake, and goes on when the shard has the route again.
    raise(&shard, ROUTE, &open).await;
    waits.await.expect("a task").expect("the lock");
    let next = timeout(wait::DEADLINE, observer.message()).await.expect("in time").expect("a leader");
    assert_eq!(value(next).await, "of elsewhere");
}
