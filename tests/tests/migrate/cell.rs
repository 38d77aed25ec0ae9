//! One cell of the matrix: a fault at a step of a migration, under load, and everything that must be true afterwards.

use std::time::Duration;

use etcd_prism_ownership::keys;
use etcd_prism_proto::etcdserverpb::WatchCreateRequest;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::migration;
use etcd_prism_tests::request::{list, put, watch, watch_prefix};
use etcd_prism_tests::tripwire::{Mark, Side};
use etcd_prism_tests::wait;
use tokio::time::{Instant, timeout};

use crate::fault::Fault;
use crate::fences;
use crate::follow::{Followed, Follower, Habit};
use crate::judge;
use crate::rig::PODS;
use crate::site::{ROUTE, SHARDS, Site};
use crate::steps::{Step, Verb};
use crate::work::{Told, Work, Write};

/// Several batches of a copy.
const OLD: usize = 150;
/// How long clients may have to wait once everything is there again.
const BOUND: Duration = Duration::from_secs(15);
/// How long a migration may take until it goes on by itself: the lock and the sessions of a dead driver expire, and
/// another proxy looks once a second.
const BY_ITSELF: Duration = Duration::from_secs(40);
/// A migration of which no shard has a record: nobody knows what was wanted, so nobody goes on.
const UNKNOWN: Duration = Duration::from_secs(6);

/// What became of the migration.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// It went on by itself; otherwise the operator's verb was needed once more.
    pub by_itself: bool,
    /// The longest time that a writer of each proxy had to wait.
    pub gaps: [Duration; 2],
    pub lasted: Duration,
    pub took: Duration,
    pub writes: usize,
    pub errors: usize,
}

/// Watchers of the route, and of its fences.
struct Watchers {
    route: Vec<Follower>,
    fences: Vec<Follower>,
}

impl Watchers {
    fn start(site: &Site, work: &Work, fault: Fault) -> Self {
        let request =
            || WatchCreateRequest { start_revision: 1, progress_notify: true, ..watch_prefix(PODS) };
        let route = |name: &str, habit, clients, at| {
            let allowed = Some(work.allowed.clone());
            Follower::start(name.to_owned(), habit, clients, at, allowed, fault.compacts(), request())
        };
        // What a watcher does not read must stay at the proxy.
        let narrow = || {
            site.proxies
                .iter()
                .map(|proxy| Client::with_window(&proxy.endpoint(), 65_535))
                .collect::<Vec<_>>()
        };
        let fence = |shard: &&'static str| {
            let members =
                site.shards[shard].endpoints().iter().map(|endpoint| Client::new(endpoint)).collect();
            let request = WatchCreateRequest { start_revision: 1, ..watch(&keys::fence(ROUTE)) };
            let name = format!("the fence on {shard}");
            Follower::start(name, Habit::Steady, members, 0, None, false, request)
        };
        Self {
            route: vec![
                route("a steady watcher of proxy 0", Habit::Steady, site.clients(), 0),
                route("a steady watcher of proxy 1", Habit::Steady, site.clients(), 1),
                route("a late watcher of proxy 1", Habit::Late, narrow(), 1),
                route("a restless watcher", Habit::Restless, site.clients(), 0),
            ],
            fences: SHARDS.iter().map(fence).collect(),
        }
    }
}

/// Runs a cell. Panics where something is not as it must be.
pub async fn run(step: &'static Step, side: Side, fault: Fault) -> Outcome {
    let begun = Instant::now();
    let mut site = Site::start(|name| fault.shard(name)).await;
    site.fill(OLD).await;
    let work = Work::start(site.clients()).await;
    let watchers = Watchers::start(&site, &work, fault);
    prepare(&site, step.verb).await;
    // The fault.
    site.wires[0].arm(step.trail, side);
    let admin = site.proxies[0].admin();
    let args: &[&str] = if step.verb == Verb::Create { &["--to", "b"] } else { &[] };
    let mut verb =
        tokio::spawn(async move { migration::run_at(&admin, step.verb.name(), ROUTE, args).await });
    if let Err(marks) = site.wires[0].sprung(BY_ITSELF).await {
        let told = if verb.is_finished() { format!("{:?}", verb.await) } else { "no answer".to_owned() };
        panic!("'{}' was not reached, only {marks} of its marks; the verb: {told}", step.name);
    }
    if side == Side::After {
        taken(&site, step).await;
    }
    work.allowed.set(fault.may_fail(step));
    let lasted = fault.happen(&mut site).await;
    // All is there again.
    work.goes_on(BOUND).await;
    // The answer of a proxy that has died since is of no interest.
    if timeout(BY_ITSELF * 2, &mut verb).await.is_err() {
        panic!("no answer to {}", step.verb.name());
    }
    let by_itself = settle(&site, step.verb).await;
    work.goes_on(BOUND).await;
    work.allowed.set([false; 2]);
    again(&site, step.verb).await;
    let mut told = work.finish().await;
    told.writes.push(last_write(&site).await);
    let (gaps, writes, errors) = (told.gaps, told.writes.len(), told.errors);
    judge_all(&site, told, watchers, fault).await;
    for (proxy, gap) in gaps.iter().enumerate() {
        assert!(
            *gap < lasted + BOUND,
            "writers of proxy {proxy} waited {gap:?}; the fault lasted {lasted:?}"
        );
    }
    Outcome { by_itself, gaps, lasted, took: begun.elapsed(), writes, errors }
}

/// Everything that comes before the verb.
async fn prepare(site: &Site, verb: Verb) {
    if verb == Verb::Create {
        return;
    }
    site.migrate(0, "create", &["--to", "b"]).await;
    site.copied("b", BY_ITSELF).await;
    if verb == Verb::Complete {
        site.migrate_soon(0, "switch", &[]).await;
    }
}

/// Waits until the held answer is that of a step that was taken, where that can be seen.
async fn taken(site: &Site, step: &Step) {
    let Some(Mark { server, bytes, .. }) = step.trail.last().copied() else { return };
    if !bytes.contains(&b'"') {
        return;
    }
    wait::until(step.name, async || {
        let fences = site.fences().await;
        let [(ours, our_peer), (theirs, their_peer)] = &fences;
        let is_taken = match step.name {
            "claim" => *our_peer,
            "flip" => theirs == "open",
            "unlink" => theirs == "open" && !their_peer,
            _ => {
                let mut found = false;
                for shard in SHARDS.iter().filter(|shard| server.is_none_or(|server| server == **shard)) {
                    let all = list(keys::PREFIX);
                    let kvs =
                        site.direct(shard).kv().range(all).await.map_err(|e| e.to_string())?.into_inner().kvs;
                    let of_route = |key: &[u8]| key.ends_with(b"/pods") || key == keys::TABLE;
                    found |= kvs.iter().any(|kv| {
                        of_route(&kv.key) && kv.value.windows(bytes.len()).any(|part| part == bytes)
                    });
                }
                found
            }
        };
        if is_taken { Ok(()) } else { Err(format!("{ours}, {theirs}")) }
    })
    .await;
}

/// Waits until the migration is where the verb was to bring it; asks for it once more where it was given up, or nobody can
/// know that it was asked for. Whether it went on by itself.
async fn settle(site: &Site, verb: Verb) -> bool {
    let begun = Instant::now();
    match verb {
        Verb::Create => loop {
            if site.phase("b").await.as_deref() == Some("follow") {
                return true;
            }
            let linked = site.fences().await[0].1;
            if begun.elapsed() > UNKNOWN && (!linked || site.phase("b").await.is_none()) {
                site.migrate_soon(1, "create", &["--to", "b"]).await;
                site.copied("b", BY_ITSELF).await;
                return false;
            }
            assert!(begun.elapsed() < BY_ITSELF, "nobody goes on: {:?}", status(site).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        },
        Verb::Switch => {
            if site.at_rest(BY_ITSELF).await == "b" {
                return true;
            }
            site.migrate_soon(1, "switch", &[]).await;
            assert_eq!(site.at_rest(BY_ITSELF).await, "b");
            false
        }
        Verb::Complete => {
            while !is_complete(site).await {
                if begun.elapsed() > BY_ITSELF {
                    site.migrate_soon(1, "complete", &[]).await;
                    assert!(is_complete(site).await, "{:?}", site.fences().await);
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            true
        }
    }
}

async fn is_complete(site: &Site) -> bool {
    let [(ours, _), (theirs, linked)] = site.fences().await;
    ours == "retired" && theirs == "open" && !linked && site.phase("b").await.as_deref() == Some("completed")
}

async fn status(site: &Site) -> (bool, String) {
    migration::run(&site.proxies[1], "status", ROUTE, &[]).await
}

/// Forward, back and forward again, to the end.
async fn again(site: &Site, verb: Verb) {
    if verb == Verb::Complete {
        site.migrate_soon(1, "create", &["--to", "a"]).await;
        site.copied("a", BY_ITSELF).await;
    }
    site.migrate_soon(1, "verify", &[]).await;
    let verbs: &[(usize, &str)] = match verb {
        Verb::Switch => &[(0, "reverse"), (1, "switch"), (0, "complete")],
        _ => &[(1, "switch"), (0, "reverse"), (1, "switch"), (0, "complete")],
    };
    for (proxy, verb) in verbs {
        site.migrate_soon(*proxy, verb, &[]).await;
    }
}

async fn last_write(site: &Site) -> Write {
    let (key, value, sent) = ([PODS, "the-end"].concat(), "x".to_owned(), Instant::now());
    let client = site.proxies[1].client();
    let reply = client.kv().put(put(&key, &value)).await.expect("a put").into_inner();
    let acked = Some((Instant::now(), reply.header.expect("a header").revision));
    Write { key, value: Some(value), lease: 0, sent, acked }
}

async fn judge_all(site: &Site, mut told: Told, watchers: Watchers, fault: Fault) {
    let last = told.writes.iter().filter_map(|write| write.acked).map(|(_, at)| at).max().expect("writes");
    let mut followed: Vec<Followed> = Vec::new();
    for watcher in watchers.route {
        followed.push(watcher.finish(last).await);
    }
    let oracle = judge::history(&site.oracle, &told, &followed.iter().collect::<Vec<_>>());
    followed.iter().for_each(|watcher| judge::watcher(watcher, &oracle));
    judge::reads(&mut told, &oracle);
    assert_eq!(oracle.revision(), last);
    for (i, client) in site.clients().into_iter().enumerate() {
        let found = client.kv().range(list(PODS)).await.expect("a list").into_inner();
        assert!(found.kvs.iter().eq(oracle.now().values()), "proxy {i} shows {:?}", found.kvs);
        if !fault.compacts() {
            // All of it once more, from the first event on.
            let request = WatchCreateRequest { start_revision: 1, ..watch_prefix(PODS) };
            let name = format!("a new watcher of proxy {i}");
            let watcher = Follower::start(name, Habit::Steady, vec![client], 0, None, false, request);
            judge::watcher(&watcher.finish(last).await, &oracle);
        }
    }
    let mut histories = Vec::new();
    for (shard, watcher) in SHARDS.iter().zip(watchers.fences) {
        let (revision, _) = site.stored(shard, &keys::fence(ROUTE)).await.expect("a fence");
        histories.push(fences::entries(&watcher.finish(revision).await));
    }
    fences::one_at_a_time(&histories);
}
