//! Runs an engine: does what it commands and tells it what came of it.
//!
//! One task per migration that this proxy drives. Between the seal and the flip nothing sleeps but the looks at the sessions,
//! two milliseconds apart.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::migration::{
    Abort, Command, Counts, Driver, DriverClaim, Edit, Goal, Outcome, Reason, Record, Waiting,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lock::Lock;
use crate::shards::Shards;
use crate::shipping::{Route, Ships};
use crate::status::{Meter, Pace};
use crate::verbs::{MAX_PAUSE, Reply, StepTime};

mod asks;
mod care;
mod compare;
mod io;
mod leases;
mod stream;
mod switch;

/// Longest wait for one answer of a shard.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between looks at what goes on by itself.
const TICK: Duration = Duration::from_millis(250);
/// Between two looks at a shard that did not answer.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks whether somebody else has written fences or record.
const LOOK: Duration = Duration::from_secs(5);
/// How often a driver is begun anew in the place of one that was superseded while the lock was its own.
const ANEW: u8 = 3;

/// What the operator asks of a driver that runs.
#[derive(Debug)]
pub(crate) enum Ask {
    Want {
        goal: Goal,
        /// How long it may take to get ready for a switch, or wait for a shard.
        patience: Duration,
        reply: oneshot::Sender<Reply>,
    },
    Edit {
        edit: Edit,
        reply: oneshot::Sender<Reply>,
    },
    Verify {
        reply: oneshot::Sender<Reply>,
    },
}

/// What everybody may know of a driver that runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    pub(crate) step: String,
    pub(crate) waiting: Option<String>,
    pub(crate) counts: Option<Counts>,
    pub(crate) pace: Pace,
    pub(crate) record: Option<Record>,
}

/// What a driver is made of.
pub(crate) struct Setup {
    pub(crate) shards: Shards,
    pub(crate) ships: Ships,
    pub(crate) route: Arc<Route>,
    pub(crate) source: ShardUid,
    pub(crate) target: ShardUid,
    pub(crate) me: DriverClaim,
    pub(crate) goal: Goal,
    /// `None`: for what needs none.
    pub(crate) lock: Option<Lock>,
    /// Cancelled when the proxy ends.
    pub(crate) stop: CancellationToken,
}

/// When an ask counts as answered.
#[derive(Debug)]
enum Until {
    /// The migration is on its way.
    Claimed,
    Switched,
    Ended,
    Stored(Edit),
}

#[derive(Debug)]
struct Pending {
    until: Until,
    deadline: Instant,
    reply: oneshot::Sender<Reply>,
}

/// A driver that runs.
pub(crate) struct Run {
    driver: Driver,
    setup: Setup,
    asks: mpsc::Receiver<Ask>,
    live: watch::Sender<Live>,
    pending: Vec<Pending>,
    ship: Option<stream::Active>,
    keeper: Option<leases::Keeper>,
    demotion: leases::Demotion,
    meter: Meter,
    /// When what was read was last compared with the shards, and when progress was last stored.
    looked: Instant,
    fed: Option<Instant>,
    /// When this driver sent the seal that stands.
    sealed: Option<Instant>,
    /// From the seal to the opening, of the last switch.
    pause: Option<Duration>,
    steps: Vec<StepTime>,
    marked: Instant,
    /// The standby took everything up to the end under this seal: it needs no other test write.
    caught: Option<i64>,
    /// Why it does not get on.
    waiting: Option<String>,
    trouble: Option<String>,
    care: care::Care,
    comparison: compare::Comparison,
    /// How often a driver was begun in the place of one that was superseded.
    anew: u8,
    /// What the whole comes to.
    end: Option<String>,
}

/// Milliseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Run {
    pub(crate) fn new(setup: Setup, asks: mpsc::Receiver<Ask>, live: watch::Sender<Live>) -> Self {
        let Setup { me, route, source, target, goal, .. } = &setup;
        let driver =
            Driver::new(me.clone(), &route.name, *source, *target, goal.clone()).of(route.definition);
        Self {
            driver,
            setup,
            asks,
            live,
            pending: Vec::new(),
            ship: None,
            keeper: None,
            demotion: leases::Demotion::default(),
            meter: Meter::default(),
            looked: Instant::now(),
            fed: None,
            sealed: None,
            pause: None,
            steps: Vec::new(),
            marked: Instant::now(),
            caught: None,
            waiting: None,
            trouble: None,
            care: care::Care::default(),
            comparison: compare::Comparison::default(),
            anew: 0,
            end: None,
        }
    }

    /// Until the goal is reached, somebody else drives, or the proxy ends.
    pub(crate) async fn go(mut self) {
        while self.end.is_none() {
            self.take_asks();
            self.watch_the_clock();
            self.driver.clock(now());
            let command = self.driver.next();
            // What is being read again may well be what it was: what runs goes on meanwhile.
            if !matches!(command, Command::Read(_)) {
                self.tend().await;
            }
            self.keep_leases();
            self.publish(&command);
            self.answer(&command);
            self.execute(command).await;
            if self.is_over() {
                break;
            }
        }
        self.finish().await;
    }

    /// Whether this driver has to step back.
    fn is_over(&mut self) -> bool {
        if self.setup.lock.as_ref().is_some_and(|lock| lock.lost().is_cancelled()) {
            self.end =
                Some("another proxy drives now, or the target could not be reached for too long".to_owned());
            return true;
        }
        if !self.setup.stop.is_cancelled() {
            return false;
        }
        // Nobody should have to find out that a seal stands with no one behind it.
        if self.sealed.is_some() && self.driver.sealed().is_some() {
            self.driver.give_up(Abort::Other("its proxy was shut down".to_owned()));
            return false;
        }
        self.end = Some("the proxy is shutting down; another one goes on".to_owned());
        true
    }

    async fn finish(mut self) {
        if let Some(active) = self.ship.take() {
            active.stop().await;
        }
        if let Some(lock) = self.setup.lock.take() {
            lock.release().await;
        }
        let text = self.end.take().unwrap_or_default();
        tracing::info!(
            route = self.setup.route.name,
            text,
            "migration: this proxy does not drive it any more"
        );
        let waiting = self.pending.drain(..).map(|pending| pending.reply).chain(self.comparison.give_up());
        for reply in waiting {
            // Whoever asked may have gone.
            drop(reply.send(Reply::refused(&text)));
        }
    }

    async fn execute(&mut self, command: Command) {
        match command {
            Command::Read(shard) => self.read(shard).await,
            Command::Write(txn) => self.write(txn).await,
            Command::Purge(purge) => self.purge(purge).await,
            Command::Copy => {
                self.feed();
                self.look().await;
                self.care().await;
                self.nap(TICK).await;
            }
            Command::ListFollowers { waiting } => self.list_followers(waiting).await,
            Command::Prove { standby, epoch } => self.prove(standby, epoch).await,
            Command::ListSessions { shard, seal, waiting } => self.list_sessions(shard, seal, waiting).await,
            Command::ReadRevision { shard, seal } => self.read_revision(shard, seal).await,
            Command::CatchUp { seal, raw } => self.catch_up(seal, raw).await,
            Command::Probe { standby, seal, epoch } => self.probe(standby, seal, epoch).await,
            Command::Demote { standby } => self.demote(standby).await,
            Command::Release { standby } => self.release(standby).await,
            Command::Relocate { to } => self.relocate(to).await,
            Command::Wait(Waiting::Unreachable(shard)) => {
                let name = self.setup.shards.name(shard);
                let why = self.trouble.take().map_or_else(String::new, |why| format!(": {why}"));
                self.waiting = Some(format!("shard {name} cannot be reached{why}"));
                self.nap(RETRY).await;
                self.driver.look_again();
            }
            Command::Wait(Waiting::Paused) => {
                self.waiting = Some("paused by the operator".to_owned());
                self.look().await;
                self.nap(TICK).await;
            }
            Command::Wait(Waiting::Following { .. }) => {
                self.waiting = None;
                self.feed();
                self.look().await;
                self.nap(TICK).await;
            }
            Command::Done(Outcome::Switched { .. }) => self.driver.want(Goal::Follow),
            Command::Done(outcome) => {
                self.end = Some(
                    match outcome {
                        Outcome::Completed => "the migration is completed",
                        Outcome::Cancelled => "the migration is cancelled",
                        _ => "nothing is sealed",
                    }
                    .to_owned(),
                );
            }
            Command::Stop(Reason::Superseded) if self.begins_anew().await => {}
            Command::Stop(reason) => self.end = Some(reason.to_string()),
        }
    }

    /// The standby's epoch is not the one that this driver made. Another driver's, unless the lock is still ours: then it was
    /// the last write of the one before, or our own whose answer was lost. A new driver begins with an epoch of its own.
    async fn begins_anew(&mut self) -> bool {
        let Setup { me, route, source, target, shards, lock, .. } = &self.setup;
        let pool = shards.pool(*target);
        if self.anew >= ANEW || lock.is_none() || pool.is_none() {
            return false;
        }
        if !Lock::is_held(pool.map(|pool| &**pool), &route.name, me.proxy).await {
            return false;
        }
        self.anew += 1;
        tracing::info!(
            route = route.name,
            "migration: the standby has another epoch than this driver made: begun anew"
        );
        (self.sealed, self.fed, self.caught) = (None, None, None);
        let goal = self.driver.goal().clone();
        self.driver = Driver::new(me.clone(), &route.name, *source, *target, goal).of(route.definition);
        if let Some(active) = self.ship.take() {
            active.stop().await;
        }
        true
    }

    /// Gives a switch up that takes too long.
    fn watch_the_clock(&mut self) {
        let Some(since) = self.sealed.filter(|_| self.driver.sealed().is_some()) else { return };
        let max = self.max_pause();
        if since.elapsed() > max {
            let step = &self.live.borrow().step;
            let waiting = self.waiting.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            let text = format!("{} ms, while {step}{waiting}", max.as_millis());
            self.driver.give_up(Abort::MaxPause(text));
        }
    }

    fn max_pause(&self) -> Duration {
        let stored = self.driver.stored().map_or(0, |record| record.options.max_pause);
        Duration::from_millis(if stored == 0 { MAX_PAUSE } else { stored })
    }

    /// Longest wait for one answer: within a pause, what is left of it.
    fn patience(&self) -> Duration {
        const LEAST: Duration = Duration::from_millis(50);
        let left = match self.sealed.filter(|_| self.driver.sealed().is_some()) {
            Some(since) => self.max_pause().saturating_sub(since.elapsed()),
            None => Duration::ZERO,
        };
        // Once it is over, what gives up or finishes must not be hurried.
        if left.is_zero() { PATIENCE } else { left.clamp(LEAST, PATIENCE) }
    }

    fn publish(&mut self, command: &Command) {
        self.note_comparison();
        let shipped = self.ship.as_ref().map(stream::Active::shipped);
        if let Some(shipped) = &shipped {
            self.meter.take(Instant::now(), shipped.counts.keys, shipped.counts.bytes);
        }
        let pace = shipped.as_ref().map(|shipped| self.meter.pace(shipped)).unwrap_or_default();
        let slow = shipped.as_ref().and_then(|shipped| shipped.slow.clone());
        let waiting = self.waiting.clone().or_else(|| self.trouble.clone()).or(slow);
        let counts = self.progress().map(|(_, counts)| counts);
        let record = self.driver.stored().cloned();
        if let Some(lag) = pace.lag {
            let route = self.setup.route.name.clone();
            metrics::gauge!("etcd_prism_migration_lag_revisions", "route" => route).set(lag as f64);
        }
        self.live.send_replace(Live { step: describe(command).to_owned(), waiting, counts, pace, record });
    }
}

/// What is being done, for people; "while …".
fn describe(command: &Command) -> &'static str {
    match command {
        Command::Read(_) => "reading fences and record",
        Command::Write(_) => "writing a fence or the record",
        Command::Purge(_) => "deleting what the standby holds of the route",
        Command::Copy => "copying",
        Command::ListFollowers { .. } => "waiting for every proxy to follow",
        Command::Prove { .. } => "looking whether the standby is close behind",
        Command::ListSessions { .. } => "waiting for every proxy to let go",
        Command::ReadRevision { .. } => "reading the owner's last revision",
        Command::CatchUp { .. } => "bringing the standby to the last revision",
        Command::Probe { .. } => "making sure that the standby takes writes",
        Command::Demote { .. } => "making copies of the former owner's leases",
        Command::Release { .. } => "taking the route out of the records of leases",
        Command::Relocate { .. } => "writing the table of routes",
        Command::Wait(Waiting::Following { .. }) => "keeping the standby up to date",
        Command::Wait(Waiting::Paused) => "paused",
        Command::Wait(Waiting::Unreachable(_)) => "waiting for a shard",
        Command::Done(_) | Command::Stop(_) => "ending",
    }
}
