//! A world of two shards, two proxies and their clients, from a seed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tower::ServiceExt;

use crate::check::{self, Watchman};
use crate::clients::{self, History};
use crate::etcd::{self, Shard};
use crate::faults::{self, HOSTS, Planned};
use crate::net;
use crate::operator::Operator;
use crate::proxy::{Machine, PREFIX, SHARDS};
use crate::time::Time;
use crate::truth;

mod fault;
mod settle;

/// What all hosts do between two deliveries of messages.
const TICK: Duration = Duration::from_millis(2);
/// A verb is not waited for any longer: see `operator`.
const LAST_VERB: Duration = Duration::from_secs(30);
/// How long readers are in a hurry after a fence was last seen to be held.
const AFTERMATH: Duration = Duration::from_millis(400);
/// Keys before anything begins.
const KEYS: usize = 60;

/// What became of a seed.
#[derive(Debug)]
pub struct Outcomes {
    /// Of everything that was committed, and when: the same for the same seed.
    pub hash: u64,
    pub simulated: Duration,
    pub acknowledged: usize,
    pub failed: usize,
    pub reads: usize,
    pub events: usize,
    pub switches: usize,
    /// What went wrong, if anything did.
    pub wrong: Option<String>,
    pub story: Vec<String>,
}

/// Lives through a seed.
pub fn live(seed: u64) -> Outcomes {
    let mut world = World::new(seed);
    let wrong = world.live().err();
    world.outcomes(wrong)
}

struct World {
    random: SmallRng,
    sim: turmoil::Sim<'static>,
    /// See [`faults::latencies`].
    latencies: Vec<(&'static str, &'static str, Duration)>,
    time: Time,
    shards: [Shard; 2],
    machines: [Machine; 2],
    history: History,
    watchman: Watchman,
    operator: Operator,
    /// Still to come, by their beginning; then those that last, with their end.
    faults: Vec<Planned>,
    lasting: Vec<Planned>,
    story: Vec<String>,
    /// The last that there was.
    owner: Option<usize>,
    switches: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let time = Time::default();
        let places = Arc::new(AtomicU64::new(0));
        let shard = |cluster_id| {
            let time = time.clone();
            Shard::new(cluster_id, Arc::new(move || time.now()), places.clone())
        };
        let shards = [shard(100), shard(200)];
        for i in 0..KEYS {
            let put = etcd_prism_tests::request::put(&format!("{PREFIX}old-{i:03}"), &format!("old {i}"));
            let put = etcd_prism_proto::etcdserverpb::request_op::Request::RequestPut(put);
            shards[0].store().txn(&etcd_prism_tests::request::txn([put])).expect("a put");
        }
        let mut machine = |name| Machine::new(name, time.clone(), random.random_range(-20..=20));
        let machines = [machine("p1"), machine("p2")];
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(random.random_range(4..30)))
            .tcp_capacity(4096)
            .enable_random_order()
            .build();
        let history = History::default();
        for host in HOSTS {
            sim.lookup(host);
        }
        for (name, shard) in SHARDS.into_iter().zip(&shards) {
            let shard = shard.clone();
            sim.host(name, move || serve(shard.clone()));
        }
        for machine in &machines {
            let machine = machine.clone();
            sim.host(machine.name, move || machine.clone().run());
        }
        let told = history.clone();
        let latencies = faults::latencies(seed);
        sim.host("clients", move || clients::run(told.clone(), vec!["p1", "p2"], seed));
        for (a, b, most) in &latencies {
            sim.set_link_max_message_latency(*a, *b, *most);
        }
        Self {
            random,
            sim,
            latencies,
            time,
            shards,
            machines,
            history,
            watchman: Watchman::default(),
            operator: Operator::new(seed),
            faults: faults::plan(seed),
            lasting: Vec::new(),
            story: Vec::new(),
            owner: None,
            switches: 0,
        }
    }

    fn now(&self) -> Duration {
        self.time.now()
    }

    fn step(&mut self) -> Result<(), String> {
        self.time.set(self.sim.elapsed());
        for shard in &self.shards {
            shard.expire();
        }
        self.sim.step().map_err(|error| format!("a host has failed: {error}"))?;
        self.watchman.look(&self.shards, self.time.now())?;
        let hurry = self.watchman.held.is_some_and(|held| self.now() < held + AFTERMATH);
        self.history.hurry.store(hurry, Ordering::Relaxed);
        if let Some(owner) = self.watchman.owner() {
            let before = self.owner.replace(owner);
            self.switches += usize::from(before.is_some_and(|before| before != owner));
        }
        Ok(())
    }

    /// Steps until something is true, and is told what it waits for.
    fn until(
        &mut self,
        what: &str,
        bound: Duration,
        mut is: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let end = self.now() + bound;
        while !is(self) {
            if self.now() > end {
                return Err(format!("not within {bound:?}: {what}"));
            }
            self.step()?;
        }
        Ok(())
    }

    fn live(&mut self) -> Result<(), String> {
        while self.now() < faults::END {
            self.fault();
            let (owner, is_migrating) = (self.watchman.owner(), self.watchman.is_migrating());
            self.operator.step(&self.machines, owner, is_migrating, self.time.now());
            self.step()?;
        }
        self.heal();
        // Otherwise it would be carried out in what comes now.
        self.until("the operator's last verb is answered", LAST_VERB, |world| {
            let now = world.now();
            world.operator.rests(now)
        })?;
        self.recover()?;
        self.settle()?;
        let line = truth::line(&self.shards)?;
        let told = self.history.told();
        check::clients(&told, &line)?;
        check::watches_are_complete(&told, &line)
    }

    fn outcomes(mut self, wrong: Option<String>) -> Outcomes {
        let told = self.history.told();
        self.story.append(&mut self.watchman.story);
        self.story.append(&mut self.operator.story);
        self.story.sort_by(|a, b| seconds(a).total_cmp(&seconds(b)));
        Outcomes {
            hash: hash(&self.shards),
            simulated: self.time.now(),
            acknowledged: told.acknowledged.len(),
            failed: told.failed,
            reads: told.reads.len(),
            events: told.watches.iter().map(|segment| segment.events.len()).sum(),
            switches: self.switches,
            wrong,
            story: std::mem::take(&mut self.story),
        }
    }
}

/// Lines of the story begin with the time.
fn seconds(line: &str) -> f64 {
    let time = line.split_whitespace().next().unwrap_or_default();
    let (number, unit) = match (time.strip_suffix("ms"), time.strip_suffix('s')) {
        (Some(number), _) => (number, 0.001),
        (None, Some(number)) => (number, 1.0),
        (None, None) => ("0", 1.0),
    };
    number.parse().unwrap_or(0.0) * unit
}

async fn serve(shard: Shard) -> turmoil::Result {
    let routes = etcd::routes(&shard);
    net::serve(move |request| {
        let routes = routes.clone();
        async move { routes.oneshot(request).await.unwrap_or_else(|never| match never {}) }
    })
    .await?;
    Ok(())
}

/// Values of reserved keys hold times of the real clock, so of these only the keys count.
fn hash(shards: &[Shard; 2]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for shard in shards {
        for commit in shard.store().log() {
            (commit.revision, commit.place, commit.expired).hash(&mut hasher);
            for kv in commit.events.iter().filter_map(|event| event.kv.as_ref()) {
                (&kv.key, kv.lease, kv.version).hash(&mut hasher);
                if !kv.key.starts_with(b"\xff") {
                    kv.value.hash(&mut hasher);
                }
            }
        }
    }
    hasher.finish()
}
