//! What operators ask while it runs, and when that is answered.

use std::time::Duration;

use etcd_prism_ownership::migration::{Abort, Command, Goal, Outcome, VerifyPoint, Waiting};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Ask, Pending, Run, Until};
use crate::verbs::{Done, Reply};

/// An edit is a write on the target.
const EDIT: Duration = Duration::from_secs(10);

impl Run {
    pub(super) fn take_asks(&mut self) {
        while let Ok(ask) = self.asks.try_recv() {
            self.take(ask);
        }
        if let Some(mut verified) = self.verified.take() {
            match verified.try_recv() {
                Ok(found) => {
                    self.compared = found.compared;
                    self.note_verified(found.is_same());
                }
                Err(oneshot::error::TryRecvError::Empty) => self.verified = Some(verified),
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
    }

    /// Waits, at most so long: an ask, the end of the lock or of the proxy ends it.
    pub(super) async fn nap(&mut self, time: Duration) {
        let lost = self.setup.lock.as_ref().map(|lock| lock.lost().clone());
        let stop = self.setup.stop.clone();
        let lost = async move {
            match lost {
                Some(lost) => lost.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = lost => {}
            () = stop.cancelled() => {}
            ask = self.asks.recv() => match ask {
                Some(ask) => self.take(ask),
                // The host is gone, and with it the proxy.
                None => self.setup.stop.cancel(),
            },
        }
    }

    pub(super) fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Want { goal, patience, reply } => {
                let until = match goal {
                    Goal::Create(_) | Goal::Follow => Until::Claimed,
                    Goal::Switch { .. } => Until::Switched,
                    Goal::Complete { .. } | Goal::Cancel { .. } | Goal::Settle => Until::Ended,
                };
                // Of two that want different things the later one counts.
                let others = |p: &Pending| matches!(p.until, Until::Claimed | Until::Switched | Until::Ended);
                let (replaced, kept) = self.pending.drain(..).partition(others);
                self.pending = kept;
                self.refuse(replaced, "the operator wants something else now");
                (self.pause, self.waiting) = (None, None);
                self.driver.want(goal);
                self.driver.look_again();
                self.pending.push(Pending { until, deadline: Instant::now() + patience, reply });
            }
            Ask::Edit { edit, reply } => {
                self.driver.edit(edit.clone());
                let (until, deadline) = (Until::Stored(edit), Instant::now() + EDIT);
                self.pending.push(Pending { until, deadline, reply });
            }
            Ask::Verify { reply } => self.verify(reply),
        }
    }

    fn verify(&mut self, reply: oneshot::Sender<Reply>) {
        let Some(active) = &mut self.ship else {
            drop(reply.send(Reply::refused(
                "nothing is shipped now, so there is nothing to compare: see the status",
            )));
            return;
        };
        let (tell, verified) = oneshot::channel();
        // Whoever asked may have gone; the record is told all the same.
        let begun = active.verify(move |found| match found {
            Ok(found) => {
                drop(tell.send(found.clone()));
                drop(reply.send(Reply::Verified(found)));
            }
            Err(error) => drop(reply.send(Reply::refused(error))),
        });
        if begun {
            self.verified = Some(verified);
        }
    }

    fn note_verified(&mut self, same: bool) {
        if let Some((mut checkpoint, mut counts)) = self.progress() {
            counts.compared = self.compared;
            let verify = VerifyPoint { revision: checkpoint.followed, after: None, done: same };
            // What is fed before this is stored has to say it too.
            self.checked = Some(verify.clone());
            checkpoint.verify = verify;
            self.driver.progress(checkpoint, counts);
        }
    }

    /// Answers what the next command shows to be reached, or out of reach.
    pub(super) fn answer(&mut self, command: &Command) {
        let pending = std::mem::take(&mut self.pending);
        for pending in pending {
            let answer = self.answer_to(&pending.until, command).or_else(|| self.late(&pending, command));
            match answer {
                // Whoever asked may have gone.
                Some(answer) => drop(pending.reply.send(answer)),
                None => self.pending.push(pending),
            }
        }
    }

    fn answer_to(&self, until: &Until, command: &Command) -> Option<Reply> {
        let route = &self.setup.route.name;
        let name = |shard| self.setup.shards.name(shard);
        match (until, command) {
            (_, Command::Stop(reason)) => Some(Reply::refused(reason)),
            (
                Until::Claimed,
                Command::Purge(_) | Command::Copy | Command::Wait(Waiting::Following { .. }),
            ) => {
                let text = format!("route {route} is on its way to {}", name(self.setup.target));
                Some(Reply::done(text))
            }
            (Until::Switched, Command::Done(Outcome::Switched { owner })) => Some(match self.pause {
                Some(pause) => Reply::Done(Done {
                    text: format!("route {route} is on shard {}", name(*owner)),
                    pause_ms: Some(milliseconds(pause)),
                    steps: self.steps.clone(),
                }),
                None => Reply::done(format!("route {route} was on shard {} already", name(*owner))),
            }),
            (Until::Switched, Command::Wait(Waiting::Following { aborted: Some(why) })) => {
                Some(self.aborted(why.clone()))
            }
            (Until::Switched, Command::Wait(Waiting::Paused)) => {
                Some(Reply::refused("the migration is paused: resume it first"))
            }
            (Until::Ended, Command::Done(outcome)) => Some(Reply::done(match outcome {
                Outcome::Completed => format!("route {route}: the migration is completed"),
                Outcome::Cancelled => format!("route {route}: the migration is cancelled"),
                _ => format!("route {route}: nothing is sealed"),
            })),
            (Until::Stored(edit), _) => {
                let stored = self.driver.stored()?;
                let mut wanted = stored.clone();
                wanted.edit(edit);
                (wanted == *stored).then(|| Reply::done(format!("route {route}: stored")))
            }
            _ => None,
        }
    }

    fn aborted(&self, why: Abort) -> Reply {
        Reply::Aborted { text: why.to_string(), why, pause_ms: self.pause.map(milliseconds) }
    }

    /// What has been waited for long enough. A switch that has sealed is bounded otherwise, and an end goes on whoever waits.
    fn late(&mut self, pending: &Pending, command: &Command) -> Option<Reply> {
        if Instant::now() < pending.deadline {
            return None;
        }
        let why = self.waiting.clone().or_else(|| self.trouble.clone());
        let why = why.unwrap_or_else(|| super::describe(command).to_owned());
        match pending.until {
            Until::Switched if self.driver.sealed().is_some() => None,
            Until::Switched => {
                self.driver.want(Goal::Follow);
                Some(self.aborted(Abort::Other(format!("not ready in time: {why}"))))
            }
            Until::Ended => Some(Reply::refused(format!("it goes on, but takes long: {why}"))),
            Until::Claimed | Until::Stored(_) => Some(Reply::refused(why)),
        }
    }

    pub(super) fn refuse(&mut self, pending: Vec<Pending>, text: &str) {
        for pending in pending {
            drop(pending.reply.send(Reply::refused(text)));
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
