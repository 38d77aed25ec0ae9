//! One fault of one shard under load.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_tests::history::history;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use tonic::Code;

use crate::load::{GENERAL, Load, OPERATIONS, ROUTES, prefix_of};
use crate::samples::{CONTROL, NO_ROUTE, Sample, Samples, summary};
use crate::watcher::Watcher;

/// The promise to every other route.
const BOUND: Duration = Duration::from_secs(1);
/// The proxy's own bound on a request (`request_timeout` of a shard).
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(7);
/// What a busy machine may add to it.
pub(crate) const SLACK: Duration = Duration::from_secs(2);
/// Requests of each kind before, during and after the fault.
const EACH: usize = 15;
/// A fault lasts until every kind of request was made under it, and at least that many answers of the shard concerned.
const FAULT_LIMIT: Duration = Duration::from_secs(60);

/// What the requests of the route concerned may end in.
pub(crate) struct Allowed {
    /// Operations that go on working.
    pub(crate) unharmed: &'static [&'static str],
    /// Code and text of everything else; a request may also succeed.
    pub(crate) errors: &'static [(Code, &'static str)],
    /// Answers of the route concerned to wait for.
    pub(crate) answers: usize,
}

/// etcd's errors when it cannot reach a decision, and the proxy's own in the same words.
pub(crate) const TIMEOUTS: &[(Code, &str)] = &[
    (Code::Unavailable, "etcdserver: request timed out"),
    (Code::Unavailable, "etcdserver: request timed out, possibly due to previous leader failure"),
    (Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost"),
    (Code::Unavailable, "etcdserver: leader changed"),
    (Code::Unavailable, "etcdserver: no leader"),
];

/// A proxy under load.
pub(crate) struct Trial {
    pub(crate) topology: Topology,
    victim: &'static str,
    load: Load,
    watchers: Vec<Watcher>,
}

impl Trial {
    /// Starts the load and waits until everything works. `victim` is the route that the fault will concern.
    pub(crate) async fn begin(topology: Topology, victim: &'static str) -> Self {
        topology.proxy.expect_log(victim);
        let control = if victim == "leases" { "rest" } else { "leases" };
        let load = Load::start(&topology.proxy.endpoint(), topology.shard_client(control));
        let mut watchers = Vec::new();
        for route in ROUTES {
            watchers.push(Watcher::open(topology.client(), route, load.samples.clone()).await);
        }
        let trial = Self { topology, victim, load, watchers };
        let samples = trial.works("before the fault", 0).await;
        check_unharmed(&samples, "");
        trial
    }

    /// Call at once when the fault has begun: checks everything that happens until enough has happened.
    pub(crate) async fn endure(&self, mark: usize, allowed: &Allowed) {
        let is_seen = |samples: &[Sample]| {
            let others = ROUTES.into_iter().filter(|route| *route != self.victim);
            let missing = missing(samples, others).or_else(|| {
                let answers = samples.iter().filter(|s| s.route == self.victim && s.error.is_some()).count();
                (answers < allowed.answers).then(|| format!("{} errors of {}", allowed.answers, self.victim))
            });
            missing.map_or(Ok(()), Err)
        };
        let samples = self.until("during the fault", mark, is_seen).await;
        println!("under the fault of {}:\n{}", self.victim, summary(&samples));
        check_unharmed(&samples, self.victim);
        check_victim(&samples, self.victim, allowed);
    }

    pub(crate) fn samples(&self) -> &Samples {
        &self.load.samples
    }

    /// Call when the fault is over: everything works again by itself, and the watches have missed nothing.
    pub(crate) async fn end(self, allowed: &Allowed) {
        let mark = self.load.samples.mark();
        wait::until(&format!("{} to work again", self.victim), async || {
            let samples = self.load.samples.since(mark);
            OPERATIONS.iter().try_for_each(|operation| {
                let works =
                    |s: &&Sample| s.route == self.victim && s.operation == *operation && s.error.is_none();
                samples.iter().find(works).map(drop).ok_or(operation)
            })
        })
        .await;
        let samples = self.load.samples.since(mark);
        check_unharmed(&samples, self.victim);
        check_victim(&samples, self.victim, allowed);
        let after = self.works("after the fault", self.load.samples.mark()).await;
        println!("after the fault of {}:\n{}", self.victim, summary(&after));
        let (mark, samples) = (self.load.samples.mark(), self.load.samples.clone());
        self.load.stop().await;
        check_unharmed(&samples.since(mark), "");
        for watcher in self.watchers {
            let (route, (log, from)) = (watcher.route, watcher.stop().await);
            let last = log.next_revision() - 1;
            let shard = self.topology.shard_client(self.topology.layout.shard_of(route));
            let events = history(&shard, prefix_of(route).as_bytes(), from, last).await;
            let found = log.check().and_then(|()| log.check_against(&events, from, last));
            found.unwrap_or_else(|error| panic!("watch of {route}: {error}"));
            println!("watch of {route}: {} events, none missing", events.len());
        }
    }

    /// Waits until every kind of request has succeeded some more times.
    async fn works(&self, when: &str, mark: usize) -> Vec<Sample> {
        self.until(when, mark, |samples| missing(samples, ROUTES.into_iter()).map_or(Ok(()), Err)).await
    }

    async fn until(
        &self,
        when: &str,
        mark: usize,
        is_seen: impl Fn(&[Sample]) -> Result<(), String>,
    ) -> Vec<Sample> {
        wait::until_within(FAULT_LIMIT, &format!("all kinds of requests {when}"), async || {
            let samples = self.load.samples.since(mark);
            is_seen(&samples).map(|()| samples)
        })
        .await
    }
}

/// What has not yet succeeded often enough.
fn missing(samples: &[Sample], routes: impl Iterator<Item = &'static str>) -> Option<String> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.error.is_none()) {
        *counts.entry((sample.route, sample.operation)).or_default() += 1;
    }
    let of_routes = routes.flat_map(|route| OPERATIONS.map(|operation| (route, operation)));
    let general = GENERAL.map(|operation| (NO_ROUTE, operation));
    let mut wanted = of_routes.chain(general);
    wanted
        .find(|kind| counts.get(kind).is_none_or(|count| *count < EACH))
        .map(|kind| format!("{kind:?}: {counts:?}"))
}

/// No error and nothing slow outside the route concerned.
fn check_unharmed(samples: &[Sample], victim: &str) {
    // What a read takes that has nothing to do with the proxy, the machine is to blame for.
    let machine = samples.iter().filter(|s| s.route == CONTROL).map(|s| s.took).max().unwrap_or_default();
    let others = samples.iter().filter(|s| s.route != victim && s.route != CONTROL);
    // The longest requests here are four round trips behind one another.
    let bound = BOUND + 4 * machine;
    let bad: Vec<&Sample> = others.filter(|s| s.error.is_some() || s.took > bound).collect();
    assert!(bad.is_empty(), "beside the fault of {victim:?} (machine: {machine:?}): {bad:#?}");
}

/// Every answer of the route concerned comes in time and in etcd's words.
fn check_victim(samples: &[Sample], victim: &str, allowed: &Allowed) {
    for sample in samples.iter().filter(|sample| sample.route == victim) {
        // An event comes when the shard does, and a watch ends when etcd ends it.
        if !["event", "progress", "watch"].contains(&sample.operation) {
            assert!(sample.took < REQUEST_TIMEOUT + SLACK, "not in time: {sample:?}");
        }
        let Some((code, text)) = &sample.error else { continue };
        assert!(!allowed.unharmed.contains(&sample.operation), "{sample:?}");
        assert!(allowed.errors.contains(&(*code, text.as_str())), "{sample:?}");
    }
}
