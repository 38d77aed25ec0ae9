//! Once the faults are over: everything becomes well again.

use std::time::Duration;

use etcd_prism_migration::verbs::{End, Reply, Switch, Verb};
use etcd_prism_ownership::migration::{Phase, Want};
use rand::Rng;

use super::World;
use crate::check;
use crate::operator::{self, Outcome};

/// How long everything may take to be well again after the last fault.
const RECOVERY: Duration = Duration::from_secs(90);

impl World {
    /// Every client of every proxy is served again.
    pub(super) fn recover(&mut self) -> Result<(), String> {
        let before = self.history.told().served.clone();
        self.until("clients are served again", RECOVERY, |world| {
            let told = world.history.told();
            told.served.iter().zip(&before).all(|(now, before)| now > before)
        })
    }

    /// The migration that is under way, if any, can be led to an end, with nothing lost.
    pub(super) fn settle(&mut self) -> Result<(), String> {
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
                let verb =
                    if is_there { Verb::Complete(End::default()) } else { Verb::Cancel(End::default()) };
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
}
