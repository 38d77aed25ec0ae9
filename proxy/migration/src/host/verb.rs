//! Does what the operator asks for.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::migration::{Driver, Edit, Goal, Options};
use tokio::sync::{mpsc, oneshot};

use super::Host;
use super::picture::Located;
use crate::lock::{Attempt, Lock};
use crate::plan::Plan;
use crate::plan::gather::{self, Found};
use crate::plan::judge::{Facts, judge};
use crate::plan::ready::{About, ready};
use crate::run::Ask;
use crate::shipping::Route;
use crate::verbs::{Create, End, Reply, Switch, Verb};

/// How long `create` waits until the migration is on its way.
const BEGIN: Duration = Duration::from_secs(30);
/// How long an end is waited for: a million keys are deleted.
const ENDING: Duration = Duration::from_secs(900);

impl Host {
    /// Answers a verb. What changes something is driven by this proxy from then on, whoever drove it before.
    pub async fn verb(self: &Arc<Self>, route: &str, verb: Verb) -> Reply {
        let Some(route) = self.routes.get(route).cloned() else {
            let known: Vec<&str> = self.routes.keys().map(String::as_str).collect();
            return Reply::refused(format!("there is no route {route:?}, only {}", known.join(", ")));
        };
        match self.answer(&route, verb).await {
            Ok(reply) => reply,
            Err(text) => Reply::Refused { text },
        }
    }

    async fn answer(self: &Arc<Self>, route: &Arc<Route>, verb: Verb) -> Result<Reply, String> {
        let edit = |edit| move |reply| Ask::Edit { edit, reply };
        match verb {
            Verb::Plan { to, no_copy } => {
                let options = Options { no_copy, ..Options::default() };
                let (_, plan) = self.plan(route, &to, &options).await?;
                Ok(Reply::Plan(plan))
            }
            Verb::Create(create) => self.create(route, create).await,
            Verb::Status => {
                let status =
                    self.status_of(&self.pictures().await, &route.name).ok_or_else(|| none(route))?;
                Ok(Reply::Status(Box::new(status)))
            }
            Verb::History => {
                let history =
                    self.history_of(&self.pictures().await, &route.name).ok_or_else(|| none(route))?;
                Ok(Reply::History(history))
            }
            Verb::Pause => self.ask(route, edit(Edit { paused: Some(true), ..Edit::default() })).await,
            Verb::Resume => self.ask(route, edit(Edit { paused: Some(false), ..Edit::default() })).await,
            Verb::Throttle { throttle } => {
                self.ask(route, edit(Edit { throttle: Some(throttle), ..Edit::default() })).await
            }
            Verb::Verify => self.ask(route, |reply| Ask::Verify { reply }).await,
            Verb::Switch(switch) => self.switch(route, switch, false).await,
            Verb::Reverse(switch) => self.switch(route, switch, true).await,
            Verb::Complete(end) => self.end(route, end, About::Complete).await,
            Verb::Cancel(end) => self.end(route, end, About::Cancel).await,
        }
    }

    async fn plan(
        &self,
        route: &Arc<Route>,
        to: &str,
        options: &Options,
    ) -> Result<(Option<ShardUid>, Plan), String> {
        let pools = self.shards.pools();
        let target = self.shards.named(to).ok_or_else(|| format!("there is no shard {to:?}"))?;
        let source = self.owner(route)?;
        let (ours, theirs) = (&pools[source], &pools[target]);
        let (source, target, size, found, limits) = tokio::join!(
            gather::side(ours, self.shards.id_of(source), route),
            gather::side(theirs, self.shards.id_of(target), route),
            gather::size(ours, route),
            gather::first_key(theirs, route),
            gather::limits(theirs),
        );
        let facts = Facts {
            route: route.name.clone(),
            default: route.default,
            fences: self.fences,
            no_copy: options.no_copy,
            limits: target.side.is_ok().then_some(limits),
            size: size.map_err(|e| e.to_string()),
            found: found.map_err(|e| e.to_string()),
            throttle: options.throttle.clone(),
            source,
            target,
        };
        Ok((facts.source.id, judge(&facts)))
    }

    /// The index of the shard that serves the route.
    fn owner(&self, route: &Route) -> Result<usize, String> {
        let view = self.own.route(route.id);
        match view.permit() {
            Some(permit) => Ok(usize::from(permit.shard.0)),
            None => Err(format!("route {} is not served now: see `etcd-prism status`", route.name)),
        }
    }

    async fn create(self: &Arc<Self>, route: &Arc<Route>, create: Create) -> Result<Reply, String> {
        let Create { to, max_pause, no_copy, throttle } = create;
        let options = Options { max_pause, no_copy, throttle };
        let (source, plan) = self.plan(route, &to, &options).await?;
        let target = self.shards.named(&to).and_then(|at| self.shards.id_of(at));
        let (Some(source), Some(target)) = (source.filter(|_| plan.go()), target) else {
            return Ok(Reply::Plan(plan));
        };
        self.alone(route, source, target).await?;
        let goal = Goal::Create(options);
        let asks = self.driver(route, (source, target), goal.clone(), false).await?;
        ask(&asks, |reply| Ask::Want { goal, patience: BEGIN, reply }).await
    }

    /// Of two migrations between the same shards each would take the leases that the other one keeps alive for its owner's.
    async fn alone(&self, route: &Route, source: ShardUid, target: ShardUid) -> Result<(), String> {
        let pictures = self.pictures().await;
        let between = |of: &Located| {
            (of.source, of.target) == (source, target) || (of.source, of.target) == (target, source)
        };
        let others = self.routes.values().filter(|other| other.name != route.name);
        match others.into_iter().find(|other| pictures.locate(&other.name).is_some_and(|of| between(&of))) {
            Some(other) => Err(format!(
                "route {} is being moved between the same shards: complete or cancel that first",
                other.name
            )),
            None => Ok(()),
        }
    }

    async fn located(&self, route: &Route) -> Result<Located, String> {
        self.pictures().await.locate(&route.name).ok_or_else(|| none(route))
    }

    /// Asks the driver of the migration that goes on; begins one here if there is none here.
    async fn ask(
        self: &Arc<Self>,
        route: &Arc<Route>,
        of: impl FnOnce(oneshot::Sender<Reply>) -> Ask,
    ) -> Result<Reply, String> {
        let located = self.located(route).await?;
        let record = located.record.as_ref();
        let goal =
            record.map(Driver::resume).ok_or("there is no record of the migration: create it again")?;
        let asks = self.driver(route, (located.source, located.target), goal, false).await?;
        ask(&asks, of).await
    }

    async fn switch(
        self: &Arc<Self>,
        route: &Arc<Route>,
        switch: Switch,
        back: bool,
    ) -> Result<Reply, String> {
        let located = self.located(route).await?;
        let (source, target) = (located.source, located.target);
        let (from, to) = if back { (target, source) } else { (source, target) };
        if switch.dry_run {
            return Ok(Reply::Plan(self.ready(route, About::Switch, from, to, target).await?));
        }
        if let Some(max_pause) = switch.max_pause {
            let edit = Edit { max_pause: Some(max_pause), ..Edit::default() };
            let stored = self.ask(route, |reply| Ask::Edit { edit, reply }).await?;
            if !stored.is_good() {
                return Ok(stored);
            }
        }
        let goal = Goal::Switch { to };
        let asks = self.driver(route, (source, target), Goal::Follow, false).await?;
        let patience = Duration::from_millis(switch.prepare);
        ask(&asks, |reply| Ask::Want { goal, patience, reply }).await
    }

    async fn end(self: &Arc<Self>, route: &Arc<Route>, end: End, about: About) -> Result<Reply, String> {
        // Also one that is over: what was abandoned is cleared when the shard is back.
        let pictures = self.pictures().await;
        let located = pictures.last(&route.name).ok_or_else(|| none(route))?;
        let (source, target) = (located.source, located.target);
        if located.record.is_some_and(|record| record.phase.is_over()) && !pictures.is_at_rest(&route.name) {
            return Err(format!("the shard that owns route {} cannot be read: try again", route.name));
        }
        let switched = pictures.fence(target, &route.name).is_some_and(|(_, fence)| fence.state.is_open());
        let (owner, other) = if switched { (target, source) } else { (source, target) };
        let plan = self.ready(route, about, owner, other, target).await?;
        if end.dry_run {
            return Ok(Reply::Plan(plan));
        }
        // What a driver could not do, it would end for.
        if let Some(check) =
            plan.checks.iter().find(|c| c.name == "time" && c.verdict == crate::plan::Verdict::NoGo)
        {
            return Err(check.text.clone());
        }
        let abandon = end.abandon;
        let goal = match about {
            About::Complete => Goal::Complete { abandon },
            _ => Goal::Cancel { abandon },
        };
        let asks = self.driver(route, (source, target), goal.clone(), abandon).await?;
        ask(&asks, |reply| Ask::Want { goal, patience: ENDING, reply }).await
    }

    async fn ready(
        &self,
        route: &Arc<Route>,
        about: About,
        owner: ShardUid,
        other: ShardUid,
        target: ShardUid,
    ) -> Result<Plan, String> {
        let (owner, other) = tokio::join!(self.side(route, owner), self.side(route, other));
        Ok(ready(&route.name, about, &owner?, &other?, target))
    }

    async fn side(&self, route: &Route, shard: ShardUid) -> Result<Found, String> {
        let pool = self.shards.pool(shard).ok_or_else(|| {
            format!("shard {shard} is not configured here, or not identified yet: see `etcd-prism status`")
        })?;
        Ok(gather::side(pool, Some(shard), route).await)
    }

    /// The driver that runs here, or a new one that takes over. `alone`: even if the lock cannot be had.
    async fn driver(
        self: &Arc<Self>,
        route: &Arc<Route>,
        (source, target): (ShardUid, ShardUid),
        goal: Goal,
        alone: bool,
    ) -> Result<mpsc::Sender<Ask>, String> {
        if !self.fences {
            return Err("fences are switched off (ownership.fences): no route can be migrated".to_owned());
        }
        let _verbs = self.verbs.lock().await;
        if let Some((asks, s, t)) = self.running(&route.name)
            && (s, t) == (source, target)
            && !alone
            && Lock::is_held(self.shards.get(target).ok().as_deref(), &route.name, self.me.proxy).await
        {
            return Ok(asks);
        }
        // It has been taken over and does not know yet, or waits for a shard that is not to be waited for.
        self.put_down(&route.name).await;
        let pool =
            self.shards.pool(target).ok_or_else(|| format!("shard {target} is not configured here"))?;
        let lock = match Lock::attempt(pool, &route.name, &self.me, true).await {
            Ok(Attempt::Ours(lock)) => Some(lock),
            Ok(Attempt::Held(name)) => return Err(format!("{name} has just taken the migration over")),
            Err(_) if alone => None,
            Err(error) => return Err(error.to_string()),
        };
        Ok(self.drive(route, (source, target), goal, lock))
    }
}

async fn ask(
    asks: &mpsc::Sender<Ask>,
    of: impl FnOnce(oneshot::Sender<Reply>) -> Ask,
) -> Result<Reply, String> {
    const ENDED: &str = "the driver has ended: see the status";
    let (reply, answered) = oneshot::channel();
    asks.send(of(reply)).await.map_err(|_| ENDED.to_owned())?;
    answered.await.map_err(|_| ENDED.to_owned())
}

fn none(route: &Route) -> String {
    format!("no migration of route {} is under way", route.name)
}
