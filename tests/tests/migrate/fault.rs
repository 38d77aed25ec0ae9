//! What goes wrong, and how it is put right again.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, MoveLeaderRequest, StatusRequest, alarm_request::AlarmAction,
};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::history::current_revision;
use etcd_prism_tests::relay::Network;
use etcd_prism_tests::request::put;
use etcd_prism_tests::wait;
use tokio::time::{Instant, sleep};

use crate::site::{SHARDS, Site};
use crate::steps::{Rules, Step};

/// How long a shard or a way to it is away. Part of what is tested, as the quotas are.
const AWAY: Duration = Duration::from_millis(2500);
/// A dead driver's lock stands for 10 s, and proxies look once a second.
const TAKEN_OVER: Duration = Duration::from_secs(20);
const QUOTA: u64 = 24 << 20;
const FILLER: usize = 1_400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9; started again once its lock and sessions have expired.
    DriverKilled,
    OtherKilled,
    /// SIGSTOP until its lock and sessions have expired; what it had sent arrives before it wakes.
    DriverStopped,
    SourceKilled,
    TargetKilled,
    /// Nothing passes between the driver and the shard.
    SourceCutFromDriver,
    TargetCutFromDriver,
    /// Every connection of every proxy to the shard ends.
    SourceCutFromAll,
    TargetCutFromAll,
    /// The driver's watch breaks, and what it has not shipped is compacted.
    SourceCompacted,
    /// Above its quota; then the quota is raised and the alarm disarmed.
    TargetFull,
    EverythingRestarted,
    /// Of three members; the leader is killed.
    SourceLeaderKilled,
    TargetLeaderKilled,
    SourceLeaderMoved,
    TargetLeaderMoved,
}

use Fault::*;

/// On shards of one member.
pub const FAULTS: &[Fault] = &[
    DriverKilled,
    OtherKilled,
    DriverStopped,
    SourceKilled,
    TargetKilled,
    SourceCutFromDriver,
    TargetCutFromDriver,
    SourceCutFromAll,
    TargetCutFromAll,
    SourceCompacted,
    TargetFull,
    EverythingRestarted,
];

/// On shards of three.
pub const MEMBERS: &[Fault] = &[SourceLeaderKilled, TargetLeaderKilled, SourceLeaderMoved, TargetLeaderMoved];

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            DriverKilled => "driver killed",
            OtherKilled => "other proxy killed",
            DriverStopped => "driver stopped",
            SourceKilled => "source killed",
            TargetKilled => "target killed",
            SourceCutFromDriver => "source cut from driver",
            TargetCutFromDriver => "target cut from driver",
            SourceCutFromAll => "source cut from all",
            TargetCutFromAll => "target cut from all",
            SourceCompacted => "source compacted",
            TargetFull => "target full",
            EverythingRestarted => "everything restarted",
            SourceLeaderKilled => "source's leader killed",
            TargetLeaderKilled => "target's leader killed",
            SourceLeaderMoved => "source's leader moved",
            TargetLeaderMoved => "target's leader moved",
        }
    }

    pub fn shard(self, name: &str) -> EtcdBuilder {
        let builder = EtcdBuilder::new(name).members(if MEMBERS.contains(&self) { 3 } else { 1 });
        if self == TargetFull && name == "b" { builder.quota(QUOTA) } else { builder }
    }

    /// Through which proxies requests may fail.
    pub fn may_fail(self, step: &Step) -> [bool; 2] {
        let source = step.rules != Rules::Target;
        let target = step.rules != Rules::Source;
        match self {
            DriverKilled | DriverStopped => [true, false],
            OtherKilled => [false, true],
            SourceKilled | SourceCutFromAll | SourceLeaderKilled | SourceLeaderMoved => [source; 2],
            TargetKilled | TargetCutFromAll | TargetFull | TargetLeaderKilled | TargetLeaderMoved => {
                [target; 2]
            }
            SourceCutFromDriver | SourceCompacted => [source, false],
            TargetCutFromDriver => [target, false],
            EverythingRestarted => [true; 2],
        }
    }

    /// Whether watches that are behind may be told that their revision is compacted.
    pub fn compacts(self) -> bool {
        self == SourceCompacted
    }

    /// Happens, with a request of the driver held; lets go of that; puts everything right. How long it lasted.
    pub async fn happen(self, site: &mut Site) -> Duration {
        let since = Instant::now();
        match self {
            DriverKilled => {
                let lock = site.lock("b").await;
                site.proxies[0].kill();
                site.wires[0].lose().await;
                expired(site, lock).await;
                site.proxies[0].restart().await;
            }
            OtherKilled => {
                site.proxies[1].kill();
                site.wires[0].release();
                gone(site).await;
                site.proxies[1].restart().await;
            }
            DriverStopped => {
                let lock = site.lock("b").await;
                site.proxies[0].pause();
                expired(site, lock).await;
                site.wires[0].release();
                site.proxies[0].resume();
            }
            SourceKilled => killed(site, "a").await,
            TargetKilled => killed(site, "b").await,
            SourceCutFromDriver => cut(site, "a", &[0], Network::Silent).await,
            TargetCutFromDriver => cut(site, "b", &[0], Network::Silent).await,
            SourceCutFromAll => cut(site, "a", &[0, 1], Network::Broken).await,
            TargetCutFromAll => cut(site, "b", &[0, 1], Network::Broken).await,
            SourceCompacted => compacted(site).await,
            TargetFull => full(site).await,
            EverythingRestarted => {
                site.proxies.iter_mut().for_each(|proxy| proxy.kill());
                site.shards.values_mut().for_each(|shard| shard.kill());
                site.wires[0].lose().await;
                for name in SHARDS {
                    site.shard(name).restart().await;
                }
                for proxy in &mut site.proxies {
                    proxy.restart().await;
                }
            }
            SourceLeaderKilled => leader_killed(site, "a").await,
            TargetLeaderKilled => leader_killed(site, "b").await,
            SourceLeaderMoved => leader_moved(site, "a").await,
            TargetLeaderMoved => leader_moved(site, "b").await,
        }
        since.elapsed()
    }
}

/// The sessions of one proxy have expired.
async fn gone(site: &Site) {
    wait::until_within(TAKEN_OVER, "a session to expire", async || {
        let left = [site.sessions("a").await, site.sessions("b").await];
        if left == [1, 1] { Ok(()) } else { Err(left) }
    })
    .await;
}

/// And its lock: it is somebody else's by then, or nobody's.
async fn expired(site: &Site, lock: Option<i64>) {
    gone(site).await;
    wait::until_within(TAKEN_OVER, "the lock to expire", async || {
        let now = site.lock("b").await;
        if now.is_none() || now != lock { Ok(()) } else { Err(now) }
    })
    .await;
}

async fn killed(site: &mut Site, name: &str) {
    site.shard(name).kill();
    site.wires[0].release();
    sleep(AWAY).await;
    site.shard(name).restart().await;
}

async fn cut(site: &Site, name: &str, proxies: &[usize], network: Network) {
    proxies.iter().for_each(|proxy| site.wires[*proxy].set(name, network));
    site.wires[0].release();
    sleep(AWAY).await;
    proxies.iter().for_each(|proxy| site.wires[*proxy].set(name, Network::Good));
}

/// Some writes happen while the driver cannot see them, if anybody can write now.
async fn compacted(site: &Site) {
    site.wires[0].set("a", Network::Broken);
    site.wires[0].release();
    sleep(Duration::from_millis(300)).await;
    let direct = site.direct("a");
    let revision = current_revision(&direct).await;
    direct.kv().compact(CompactionRequest { revision, physical: false }).await.expect("a compaction");
    site.wires[0].set("a", Network::Good);
}

async fn full(site: &mut Site) {
    let target = site.direct("b");
    for i in 0.. {
        let filler = put(&format!("/bees/{i:05}"), &vec![b'x'; FILLER]);
        if let Err(status) = target.kv().put(filler).await {
            assert_eq!(status.message(), "etcdserver: mvcc: database space exceeded");
            break;
        }
    }
    site.wires[0].release();
    sleep(AWAY).await;
    let shard = site.shard("b");
    for member in shard.members() {
        member.replace_flag("--quota-backend-bytes=", &format!("--quota-backend-bytes={}", QUOTA * 8));
    }
    shard.restart().await;
    let maintenance = || target.maintenance();
    let alarm = |action: AlarmAction, member_id| {
        let request = AlarmRequest { action: action.into(), member_id, alarm: AlarmType::Nospace.into() };
        async move { maintenance().alarm(request).await.expect("an answer to Alarm").into_inner().alarms }
    };
    let raised = alarm(AlarmAction::Get, 0).await;
    assert!(!raised.is_empty(), "the target was not full");
    for of in raised {
        alarm(AlarmAction::Deactivate, of.member_id).await;
    }
}

/// The member that leads: its place, and the ids of all.
async fn leader(site: &Site, name: &str) -> (usize, Vec<u64>) {
    wait::until("a leader", async || {
        let (mut leads, mut ids) = (None, Vec::new());
        for (at, endpoint) in site.shards[name].endpoints().iter().enumerate() {
            let status = Client::new(endpoint).maintenance().status(StatusRequest::default()).await;
            let status = status.map_err(|status| status.to_string())?.into_inner();
            let id = status.header.expect("a header").member_id;
            if status.leader == id {
                leads = Some(at);
            }
            ids.push(id);
        }
        leads.map(|at| (at, ids)).ok_or_else(|| "nobody leads".to_owned())
    })
    .await
}

async fn leader_killed(site: &mut Site, name: &str) {
    let (at, _) = leader(site, name).await;
    site.shard(name).members()[at].kill();
    site.wires[0].release();
    sleep(AWAY).await;
    site.shard(name).members()[at].start_again();
    site.shard(name).wait_ready().await;
}

async fn leader_moved(site: &mut Site, name: &str) {
    let (at, ids) = leader(site, name).await;
    let client = Client::new(&site.shards[name].endpoints()[at]);
    let target_id = ids[(at + 1) % ids.len()];
    let moved = client.maintenance().move_leader(MoveLeaderRequest { target_id }).await;
    moved.expect("a leader that moves");
    site.wires[0].release();
    leader(site, name).await;
}
