//! A world of two shards, two proxies and their clients, from a seed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_prism_migration::verbs::{End, Reply, Switch, Verb};
use etcd_prism_ownership::migration::{Phase, Want};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tower::ServiceExt;

use crate::check::{self, Watchman};
use crate::clients::{self, History};
use crate::etcd::{self, Shard};
use crate::faults::{self, Fault, HOSTS, Planned};
use crate::net;
use crate::operator::{self, Operator, Outcome};
use crate::proxy::{Command, Machine, PREFIX, SHARDS};
use crate::time::Time;
use crate::truth;

/// What all hosts do between two deliveries of messages.
const TICK: Duration = Duration::from_millis(2);
/// How long everything may take to be well again after the last fault.
const RECOVERY: Duration = Duration::from_secs(90);
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
        self.recover()?;
        self.settle()?;
        let line = truth::line(&self.shards)?;
        let told = self.history.told();
        check::clients(&told, &line)?;
        check::watches_are_complete(&told, &line)
    }

    /// Every client of every proxy is served again.
    fn recover(&mut self) -> Result<(), String> {
        let before = self.history.told().served.clone();
        self.until("clients are served again", RECOVERY, |world| {
            let told = world.history.told();
            told.served.iter().zip(&before).all(|(now, before)| now > before)
        })
    }

    /// The migration that is under way, if any, can be led to an end, with nothing lost.
    fn settle(&mut self) -> Result<(), String> {
        let end = self.now() + RECOVERY;
        let mut switched = false;
        loop {
            if self.now() > end {
                return Err(format!("no end of the migration within {RECOVERY:?}"));
            }
            if !self.watchman.is_migrating() {
                // What was abandoned has left its copy behind.
                if self.leftovers() == 0 && !self.watchman.is_left_over() {
                    break;
                }
                self.ask(Verb::Cancel(End::default()))?;
                self.pause()?;
                continue;
            }
            let Some(Reply::Status(status)) = self.ask(Verb::Status)? else {
                self.pause()?;
                continue;
            };
            let is_following = status.phase == Phase::Follow && status.want == Want::Follow;
            if status.paused {
                self.ask(Verb::Resume)?;
            } else if is_following && !switched {
                let switch = Switch { dry_run: false, max_pause: Some(3_000), prepare: 20_000 };
                let is_back = status.owner.as_ref() == Some(&status.target);
                let verb = if is_back { Verb::Reverse(switch) } else { Verb::Switch(switch) };
                switched = self.ask(verb)?.is_some_and(|reply| reply.is_good());
            } else if is_following {
                self.rest()?;
                let shards = self.shards.clone();
                self.until("both shards hold the same", Duration::from_secs(30), |_| {
                    check::difference(&shards).is_none()
                })
                .map_err(|error| format!("{error}: {:?}", check::difference(&self.shards)))?;
                let is_there = status.owner.as_ref() == Some(&status.target);
                let verb = if is_there { Verb::Complete(End::default()) } else { Verb::Cancel(End::default()) };
                self.ask(verb)?;
            }
            self.pause()?;
        }
        self.rest()?;
        if self.watchman.owner().is_none() {
            return Err("nobody owns the route".to_owned());
        }
        self.until("the other shard holds nothing", Duration::from_secs(30), |world| world.leftovers() == 0)?;
        // A driver that was superseded may show what it saw last, for a moment.
        let end = self.now() + Duration::from_secs(15);
        for proxy in 0..self.machines.len() {
            loop {
                match self.ask_at(proxy, Verb::Status)? {
                    Some(Reply::Status(status)) if !status.phase.is_over() && self.now() > end => {
                        return Err(format!("nothing is under way, and a proxy says {status:?}"));
                    }
                    Some(Reply::Status(status)) if !status.phase.is_over() => self.pause()?,
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// Keys of the route on a shard that does not own it.
    fn leftovers(&self) -> usize {
        self.watchman.owner().map_or(0, |owner| check::keys_of_route(&self.shards[1 - owner]))
    }

    /// Nobody writes any more, and all that was told arrives.
    fn rest(&mut self) -> Result<(), String> {
        if self.history.stop_writing.is_cancelled() {
            return Ok(());
        }
        self.history.stop_writing.cancel();
        let end = self.now() + Duration::from_secs(12);
        self.until("rest", Duration::from_secs(20), |world| world.now() > end)
    }

    fn pause(&mut self) -> Result<(), String> {
        let end = self.now() + Duration::from_millis(500);
        self.until("a moment", Duration::from_secs(2), |world| world.now() > end)
    }

    fn ask(&mut self, verb: Verb) -> Result<Option<Reply>, String> {
        let proxy = self.random.random_range(0..2);
        self.ask_at(proxy, verb)
    }

    fn ask_at(&mut self, proxy: usize, verb: Verb) -> Result<Option<Reply>, String> {
        let mut asked = operator::ask(&self.machines[proxy], verb, self.time.now());
        loop {
            if let Some(outcome) = asked.poll(self.now()) {
                self.story.push(operator::told(&asked.what, &outcome, self.now()));
                return Ok(match outcome {
                    Outcome::Answered(reply) => Some(reply),
                    Outcome::Unanswered => None,
                });
            }
            self.step()?;
        }
    }

    /// Begins and ends what is due.
    fn fault(&mut self) {
        let now = self.now();
        while self.faults.first().is_some_and(|planned| planned.from <= now) {
            let planned = self.faults.remove(0);
            self.begin(&planned);
            self.lasting.push(planned);
        }
        let (ended, lasting) = self.lasting.drain(..).partition(|planned| planned.to <= now);
        self.lasting = lasting;
        let ended: Vec<Planned> = ended;
        for planned in ended {
            self.end(&planned);
        }
    }

    fn begin(&mut self, planned: &Planned) {
        self.story.push(format!("{:?} {:?} until {:?}", self.now(), planned.fault, planned.to));
        match &planned.fault {
            Fault::Hold(a, b) => self.sim.hold(*a, *b),
            Fault::Cut(a, b) => self.sim.partition(*a, *b),
            Fault::Slow(a, b, by) => self.sim.set_link_latency(*a, *b, *by),
            Fault::Crash(host) => self.sim.crash(*host),
            Fault::Stop(proxy) => self.machine(proxy).tell(Command::Stop),
            Fault::Jump(proxy, by) => self.machine(proxy).jump(*by),
            Fault::Full(shard) => self.shard(shard).store().full = true,
            Fault::Late(shard, most) => {
                let (mut random, most) = (SmallRng::seed_from_u64(self.random.random()), *most);
                self.shard(shard).set_late(Some(Box::new(move || match random.random_bool(0.25) {
                    true => random.random_range(Duration::ZERO..most),
                    false => Duration::ZERO,
                })));
            }
            Fault::Compact(shard, behind) => {
                let mut store = self.shard(shard).store();
                let to = store.revision() - behind;
                // Where it has been compacted to there, nothing is left to do.
                store.compact(to).ok();
            }
        }
    }

    fn end(&mut self, planned: &Planned) {
        match &planned.fault {
            Fault::Hold(a, b) => self.sim.release(*a, *b),
            Fault::Cut(a, b) => self.sim.repair(*a, *b),
            Fault::Slow(a, b, _) => {
                let usual = self.latencies.iter().find(|(x, y, _)| (x, y) == (a, b));
                let usual = usual.map_or(Duration::from_millis(10), |(_, _, most)| *most);
                self.sim.set_link_latency(*a, *b, Duration::from_millis(1));
                self.sim.set_link_max_message_latency(*a, *b, usual);
            }
            Fault::Late(shard, _) => self.shard(shard).set_late(None),
            Fault::Crash(host) | Fault::Stop(host) => self.start_again(host),
            Fault::Full(shard) => self.shard(shard).store().full = false,
            Fault::Jump(..) | Fault::Compact(..) => {}
        }
    }

    fn start_again(&mut self, host: &str) {
        if let Some(i) = SHARDS.iter().position(|name| *name == host) {
            self.shards[i].start_again();
        }
        self.sim.bounce(host);
    }

    fn machine(&self, name: &str) -> &Machine {
        self.machines.iter().find(|machine| machine.name == name).expect("a proxy")
    }

    fn shard(&self, name: &str) -> &Shard {
        let i = SHARDS.iter().position(|shard| *shard == name).expect("a shard");
        &self.shards[i]
    }

    /// Ends every fault.
    fn heal(&mut self) {
        for planned in std::mem::take(&mut self.lasting) {
            self.end(&planned);
        }
        for host in ["a", "b", "p1", "p2"] {
            if !self.sim.is_host_running(host) {
                self.start_again(host);
            }
        }
        for (i, a) in HOSTS.iter().enumerate() {
            for b in &HOSTS[i + 1..] {
                self.sim.release(*a, *b);
            }
        }
        self.story.push(format!("{:?} healed", self.now()));
    }

    fn outcomes(mut self, wrong: Option<String>) -> Outcomes {
        let told = self.history.told();
        self.story.extend(self.watchman.story.drain(..));
        self.story.extend(self.operator.story.drain(..));
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
