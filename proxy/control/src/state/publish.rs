//! From the engines to what the data path reads.

use std::collections::HashSet;
use std::sync::Arc;

use etcd_prism_ownership::session::Step;
use etcd_prism_ownership::{Answer, Permit, Reason};
use etcd_prism_routing::ShardId;

use super::{OfReign, Route, Shard, State, ids};
use crate::hub::Hub;
use crate::task::Signals;
use crate::view::RouteView;

impl State {
    /// Shows the engines' answers, then acknowledges the seals among them, in this order: an acknowledgement must never be
    /// on its way while somebody can still see the route open. Wakes whoever has something to do.
    pub(crate) fn publish(&mut self, hub: &Hub, signals: &Signals) {
        let mut changed = self.publish_routes(hub);
        for shard in ids(self.shards.len()) {
            let deadline = self.shard(shard).session.deadline().filter(|_| !self.closed);
            if hub.set_deadline(shard, deadline) {
                changed = true;
                let name = &self.shard(shard).name;
                match deadline {
                    Some(_) => tracing::info!(shard = %name, "session stands"),
                    None => {
                        tracing::info!(shard = %name, "session ended: reads are fenced until there is another")
                    }
                }
            }
        }
        if changed {
            hub.tell();
        }
        self.publish_leases(hub);
        self.acknowledge(hub);
        self.wake(signals);
    }

    fn publish_routes(&mut self, hub: &Hub) -> bool {
        let shards = self.shards.len();
        let mut changed = false;
        for i in 0..self.routes.len() {
            let unfenced = self.is_unfenced(&self.routes[i]);
            let route = &mut self.routes[i];
            if route.obstructed && route.has_fence(shards) {
                route.obstructed = false;
                route.engine.set_table(None);
            }
            let (answer, OfReign { floor, line }) = self.shown(&self.routes[i], unfenced);
            let route = &mut self.routes[i];
            let old = hub.routes[i].view.load_full();
            let same_line = old.line.as_deref() == line.as_ref();
            if old.generation == route.engine.generation() + route.switched {
                if same_line && (&old.answer, old.floor, old.unfenced) == (&answer, floor, unfenced) {
                    continue;
                }
                route.switched += 1;
            }
            let line = if same_line { old.line.clone() } else { line.map(Arc::new) };
            let generation = route.engine.generation() + route.switched;
            log(&route.name, &old.answer, &answer, unfenced);
            hub.set_view(
                i,
                RouteView { answer, generation, floor, line, unfenced, fence_key: old.fence_key.clone() },
            );
            changed = true;
        }
        changed
    }

    /// What is answered for a route, and what its reign's record says.
    fn shown(&self, route: &Route, unfenced: bool) -> (Answer, OfReign) {
        if unfenced {
            let answer = match self.contradiction(route) {
                None => Answer::Permit(Permit { shard: route.configured, epoch: 0, n: 0 }),
                Some(reason) => Answer::Refuse(reason),
            };
            return (answer, OfReign::default());
        }
        match self.reign(route) {
            Ok(reign) => (route.engine.answer().clone(), reign),
            // Nothing of before stays in view: it may be another shard's, or an epoch that a seal has ended.
            Err(instead) => (instead, OfReign::default()),
        }
    }

    /// Where a shard does not let us read or write fences, none can be created. A route that has a fence anywhere is never
    /// served without, so whatever can be read has to be read first.
    fn is_unfenced(&self, route: &Route) -> bool {
        self.shards.iter().any(Shard::is_denied)
            && self.shards.iter().all(|s| s.denied_read || s.live.is_some())
            && !route.has_fence(self.shards.len())
    }

    /// What the others have agreed on against a route that is to be served without a fence: they may serve its keys under
    /// another name, elsewhere.
    fn contradiction(&self, route: &Route) -> Option<Reason> {
        let unreadable = self.shards.iter().find_map(|shard| match &shard.table {
            Some((_, Err(error))) => {
                Some(Reason::Unreadable { shard: shard.name.clone(), error: error.clone() })
            }
            _ => None,
        });
        // What cannot be read may say otherwise.
        if unreadable.is_some() {
            return unreadable;
        }
        let table = self.table()?;
        let here = self.shard(route.configured).live.and_then(|live| live.id);
        let agrees = table.pending.is_none()
            && table.routes.iter().any(|stored| {
                // A shard that does not let us read says nothing of who it is.
                stored.name == route.name
                    && stored.definition == route.definition
                    && here.is_none_or(|id| id == stored.shard)
            });
        (!agrees).then(|| {
            let text = "the other proxies' table has the route with other keys or on another shard, and it has no fence \
                        here: see `etcd-prism route diff`";
            Reason::Table(text.to_owned())
        })
    }

    fn publish_leases(&self, hub: &Hub) {
        let sessions = self.shards.iter().flat_map(|s| s.sessions.values()).map(|(lease, _)| *lease);
        let own = self.shards.iter().filter_map(|s| s.session.lease());
        let drivers = self.shards.iter().flat_map(|s| s.drivers.values()).copied();
        let leases: HashSet<i64> = sessions.chain(own).chain(drivers).filter(|id| *id != 0).collect();
        if **hub.leases.load() != leases {
            hub.leases.store(Arc::new(leases));
        }
    }

    fn acknowledge(&mut self, hub: &Hub) {
        // A route that goes without a fence may own keys of a route that is not known here.
        let unfenced = hub.routes.iter().any(|slot| slot.view.load().unfenced);
        for shard in ids(self.shards.len()) {
            let own = self.routes.iter().map(|route| &route.engine);
            let strangers = self.strangers.values().filter(|_| !unfenced);
            let mut seals: Vec<_> = own.chain(strangers).filter_map(|engine| engine.seal(shard)).collect();
            seals.retain(|seal| self.revokes.let_go(shard, seal));
            let followed: Vec<_> =
                self.routes.iter().filter_map(|route| route.engine.following(shard)).collect();
            let session = &mut self.shard_mut(shard).session;
            seals.iter().for_each(|seal| session.acknowledge(seal));
            // Whoever has a session at a standby reaches it, and could serve from there.
            followed.iter().for_each(|following| session.follow(following));
        }
    }

    fn wake(&self, signals: &Signals) {
        for shard in ids(self.shards.len()) {
            let signals_of = signals.shard(shard);
            if self.shard(shard).session.step() != Step::Settled {
                signals_of.session.notify_one();
            }
            if self.is_suspect(shard) || self.is_doubtful(shard) {
                signals_of.reread.notify_one();
            }
            if self.lacks_reign(shard) {
                signals_of.reign.notify_one();
            }
        }
        if self.missing().next().is_some() {
            signals.first.notify_one();
        }
    }

    fn is_suspect(&self, shard: ShardId) -> bool {
        self.routes.iter().any(|route| route.engine.suspects().iter().any(|s| s.shard == shard))
    }
}

fn log(route: &str, old: &Answer, new: &Answer, unfenced: bool) {
    match new {
        Answer::Permit(_) if unfenced => tracing::warn!(
            route,
            "a shard's user has no rights on the proxy's own keys: the route is served without a fence and cannot be \
             migrated; grant it readwrite on the prefix \\xffprism/ on every shard"
        ),
        Answer::Permit(permit) => {
            tracing::info!(
                route,
                shard = permit.shard.0,
                epoch = permit.epoch,
                reign = permit.n,
                "route is served"
            );
        }
        Answer::Wait(reason) => tracing::info!(route, %reason, "route waits"),
        Answer::Refuse(reason) if Some(reason) != refusal(old) => {
            tracing::error!(route, %reason, "route is refused")
        }
        Answer::Refuse(_) => {}
    }
}

fn refusal(answer: &Answer) -> Option<&etcd_prism_ownership::Reason> {
    match answer {
        Answer::Refuse(reason) => Some(reason),
        _ => None,
    }
}
