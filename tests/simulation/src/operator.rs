//! An operator who wants something else every other second.

use std::time::Duration;

use etcd_prism_migration::verbs::{Create, End, Reply, Switch, Verb};
use etcd_prism_ownership::migration::Throttle;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use crate::proxy::{Command, Machine, SHARDS};

/// Longest wait for the answer to a verb.
const PATIENCE: Duration = Duration::from_secs(25);

/// A verb that was given and not answered yet.
#[derive(Debug)]
pub struct Asked {
    pub what: String,
    at: Duration,
    reply: oneshot::Receiver<Reply>,
}

/// What became of a verb.
#[derive(Debug)]
pub enum Outcome {
    Answered(Reply),
    /// The proxy has died, or says nothing.
    Unanswered,
}

/// Gives a verb to a proxy.
pub fn ask(machine: &Machine, verb: Verb, now: Duration) -> Asked {
    let what = format!("{}: {verb:?}", machine.name);
    let (sender, reply) = oneshot::channel();
    machine.tell(Command::Verb(verb, sender));
    Asked { what, at: now, reply }
}

impl Asked {
    /// The outcome, once there is one.
    pub fn poll(&mut self, now: Duration) -> Option<Outcome> {
        match self.reply.try_recv() {
            Ok(reply) => Some(Outcome::Answered(reply)),
            Err(oneshot::error::TryRecvError::Closed) => Some(Outcome::Unanswered),
            Err(_) if now > self.at + PATIENCE => Some(Outcome::Unanswered),
            Err(_) => None,
        }
    }
}

/// Asks for one thing after the other.
#[derive(Debug)]
pub struct Operator {
    random: SmallRng,
    next: Duration,
    asked: Option<Asked>,
    /// What was asked and answered, for people.
    pub story: Vec<String>,
}

impl Operator {
    pub fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x0b5e55ed);
        let next = Duration::from_millis(random.random_range(1_500..6_000));
        Self { random, next, asked: None, story: Vec::new() }
    }

    /// Whether nothing that was asked waits for its answer.
    pub fn rests(&mut self, now: Duration) -> bool {
        let Some(asked) = &mut self.asked else { return true };
        let Some(outcome) = asked.poll(now) else { return false };
        self.story.push(told(&asked.what, &outcome, now));
        self.asked = None;
        self.next = now + Duration::from_millis(self.random.random_range(50..4_000));
        true
    }

    /// One step of time. `owner` and `is_migrating` are what the fences say.
    pub fn step(&mut self, machines: &[Machine; 2], owner: Option<usize>, is_migrating: bool, now: Duration) {
        if !self.rests(now) {
            return;
        }
        if now < self.next {
            return;
        }
        let verb = self.verb(owner, is_migrating);
        let machine = &machines[self.random.random_range(0..2)];
        self.asked = Some(ask(machine, verb, now));
    }

    fn verb(&mut self, owner: Option<usize>, is_migrating: bool) -> Verb {
        let to = SHARDS[1 - owner.unwrap_or(0)].to_owned();
        let rate = [None, None, Some(20), Some(200)][self.random.random_range(0..4)];
        let throttle = Throttle { keys_per_second: rate.unwrap_or(0), ..Throttle::default() };
        let create =
            Verb::Create(Create { to, max_pause: 2_000, no_copy: false, throttle: throttle.clone() });
        if !is_migrating && self.random.random_bool(0.9) {
            return create;
        }
        let switch = Switch {
            dry_run: false,
            max_pause: [None, Some(300), Some(3_000)][self.random.random_range(0..3)],
            prepare: self.random.random_range(500..15_000),
        };
        match self.random.random_range(0..100) {
            0..35 => Verb::Switch(switch),
            35..55 => Verb::Reverse(switch),
            55..60 => Verb::Pause,
            60..70 => Verb::Resume,
            70..78 => Verb::Verify,
            78..84 => Verb::Complete(End::default()),
            84..92 => Verb::Cancel(End { dry_run: false, abandon: self.random.random_bool(0.5) }),
            92..95 => Verb::Throttle { throttle },
            _ => create,
        }
    }
}

/// A line of the story.
pub fn told(what: &str, outcome: &Outcome, now: Duration) -> String {
    match outcome {
        Outcome::Unanswered => format!("{now:?} {what}: no answer"),
        Outcome::Answered(reply) => format!("{now:?} {what}: {reply:?}"),
    }
}
