//! The engines of one proxy and what was read for them. Behind one lock, which nobody holds while waiting.

use std::collections::BTreeMap;

use etcd_prism_ownership::definition::DefinitionHash;
use etcd_prism_ownership::id::{ProxyId, ShardUid};
use etcd_prism_ownership::identity::{IdentityProblem, Live};
use etcd_prism_ownership::route::Observation;
use etcd_prism_ownership::value::{Identity, Table, ValueError};
use etcd_prism_ownership::{Answer, Reason, Reign, RouteEngine, Session, Timeline};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::Code;

use crate::line::RouteLine;

pub(crate) use reigns::Reigns;
pub(crate) use revokes::Revokes;

mod publish;
mod reigns;
mod revokes;
#[cfg(test)]
mod tests;

/// One route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) definition: DefinitionHash,
    /// Where the configuration puts it.
    pub(crate) configured: ShardId,
    pub(crate) engine: RouteEngine,
    /// It has no fence and cannot get one: the engine was told why.
    pub(crate) obstructed: bool,
    /// What is added to the engine's generation: how often something else changed what is shown of the route.
    pub(crate) switched: u64,
}

/// A shard that went back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fall {
    /// Its identity when that was found.
    pub(crate) of: ShardUid,
    /// The revision that was known of it, and the one that it was found at.
    pub(crate) known: i64,
    pub(crate) found: i64,
    /// Every other shard has the record of it.
    pub(crate) recorded: bool,
}

/// What the record of a route's present reign says.
#[derive(Debug, Default)]
pub(crate) struct OfReign {
    pub(crate) floor: i64,
    pub(crate) line: Option<RouteLine>,
}

/// One shard, as last read.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) name: String,
    pub(crate) session: Session,
    /// The session key's mod revision, as we wrote it last.
    pub(crate) session_written: i64,
    pub(crate) live: Option<Live>,
    /// A table was known when `live` was asked for: from then on every shard has an identity.
    pub(crate) asked_with_table: bool,
    pub(crate) identity: Option<(i64, Result<Identity, ValueError>)>,
    pub(crate) table: Option<(i64, Result<Table, ValueError>)>,
    pub(crate) problem: Option<IdentityProblem>,
    /// The shard was seen at a lower revision than before. It stays so until the shard gets another identity: our own
    /// writes would soon hide it.
    pub(crate) went_back: Option<Fall>,
    /// It is the shard that it is taken for.
    pub(crate) identified: bool,
    pub(crate) reigns: Reigns,
    /// The shard's user may not read the reserved keys.
    pub(crate) denied_read: bool,
    /// The shard's user may not write the reserved keys.
    pub(crate) denied_write: bool,
    /// Why the last step of the session failed.
    pub(crate) session_error: Option<String>,
    /// Why the shard could not be read.
    pub(crate) error: Option<String>,
    /// Sessions at the shard, by proxy: the lease and the proxy's name.
    pub(crate) sessions: BTreeMap<ProxyId, (i64, String)>,
    /// Leases of the locks of drivers, by route.
    pub(crate) drivers: BTreeMap<String, i64>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) routes: Vec<Route>,
    pub(crate) shards: Vec<Shard>,
    /// The highest revision of each shard that anybody was heard to have seen.
    pub(crate) known: BTreeMap<ShardUid, i64>,
    /// Routes that this proxy's table does not have but that have fences, by name.
    pub(crate) strangers: BTreeMap<String, RouteEngine>,
    pub(crate) revokes: Revokes,
    /// Nothing is released any more.
    pub(crate) closed: bool,
}

/// A table has tens of routes; fences are never deleted, so those of routes that ended are among the strangers.
const MAX_STRANGERS: usize = 1024;

impl State {
    pub(crate) fn new(routes: Vec<Route>, shards: Vec<Shard>) -> Self {
        Self {
            routes,
            shards,
            known: BTreeMap::new(),
            strangers: BTreeMap::new(),
            revokes: Revokes::default(),
            closed: false,
        }
    }

    pub(crate) fn shard(&self, id: ShardId) -> &Shard {
        &self.shards[usize::from(id.0)]
    }

    pub(crate) fn shard_mut(&mut self, id: ShardId) -> &mut Shard {
        &mut self.shards[usize::from(id.0)]
    }

    /// The table that counts, as far as it was read: of the highest generation; of equals the arbiter's.
    pub(crate) fn table(&self) -> Option<&Table> {
        let tables = self.shards.iter().filter_map(|shard| match &shard.table {
            Some((_, Ok(table))) => Some((shard, table)),
            _ => None,
        });
        let is_arbiter =
            |shard: &Shard, table: &Table| shard.live.is_some_and(|live| live.id == Some(table.arbiter));
        tables.max_by_key(|(shard, table)| (table.generation, is_arbiter(shard, table))).map(|(_, t)| t)
    }

    /// Notes that a shard was at a revision.
    pub(crate) fn remember(&mut self, shard: ShardUid, revision: i64) {
        let highest = self.known.entry(shard).or_insert(0);
        *highest = (*highest).max(revision);
    }

    pub(crate) fn observe(&mut self, route: usize, shard: ShardId, observation: Observation) {
        if let Some(route) = self.routes.get_mut(route) {
            route.engine.observe(shard, observation);
        }
    }

    /// Takes what was seen of the fence of a route that this proxy's table does not have: its seals have to be acknowledged
    /// all the same.
    pub(crate) fn observe_stranger(&mut self, name: &str, shard: ShardId, observation: Observation) {
        if let Some(engine) = self.strangers.get_mut(name) {
            return engine.observe(shard, observation);
        }
        if self.strangers.len() >= MAX_STRANGERS {
            tracing::warn!(
                route = name,
                "more fences of unknown routes than are kept: its seals are not acknowledged"
            );
            return;
        }
        tracing::info!(route = name, "there is a fence of a route that this proxy's table does not have");
        let names: Vec<String> = self.shards.iter().map(|s| s.name.clone()).collect();
        let mut engine = RouteEngine::stranger(name, &names);
        for (id, shard) in ids(self.shards.len()).zip(&self.shards) {
            if let Some(uid) = shard.live.and_then(|live| live.id).filter(|_| shard.identified) {
                engine.identify(id, uid);
            }
        }
        engine.observe(shard, observation);
        self.strangers.insert(name.to_owned(), engine);
    }

    /// What the record of a served route's reign says; or what is answered for want of it.
    pub(crate) fn reign(&self, route: &Route) -> Result<OfReign, Answer> {
        let Some(permit) = route.engine.permit() else { return Ok(OfReign::default()) };
        let (facts, n) = (self.shard(permit.shard), permit.n);
        let shard = || facts.name.clone();
        let unreadable = |error| Answer::Refuse(Reason::Unreadable { shard: shard(), error });
        match facts.reigns.get(&route.name, n) {
            Some((written, Ok(record))) if record.earlier.is_empty() => {
                Ok(OfReign { floor: record.effective_floor(written), line: None })
            }
            Some((written, Ok(record))) => {
                let floor = record.virtual_floor(written);
                let reigns = record.line(written);
                if let Some(shard) = self.yet_unknown(&reigns, permit.shard, floor) {
                    return Err(Answer::Wait(Reason::Unidentified { shard }));
                }
                let line = self.line(reigns, permit.shard, floor).map_err(unreadable)?;
                Ok(OfReign { floor: line.floor(), line: Some(line) })
            }
            Some((_, Err(error))) => Err(unreadable(error.clone())),
            // It is written in one Txn with the fence that opens the reign, so it would have been there.
            None if facts.reigns.read_at() >= permit.epoch => {
                Err(Answer::Refuse(Reason::ReignMissing { shard: shard(), n }))
            }
            None => Err(Answer::Wait(Reason::ReignUnread { shard: shard(), n })),
        }
    }

    /// A route is to be served there, but the record of its reign has not been read yet.
    pub(crate) fn lacks_reign(&self, shard: ShardId) -> bool {
        let here = self.routes.iter().filter(|r| r.engine.permit().is_some_and(|p| p.shard == shard));
        here.map(|route| self.reign(route))
            .any(|reign| matches!(reign, Err(Answer::Wait(Reason::ReignUnread { .. }))))
    }

    fn shard_of(&self, reign: &Reign) -> Option<ShardId> {
        ids(self.shards.len()).find(|shard| {
            let facts = self.shard(*shard);
            facts.identified && facts.live.is_some_and(|live| live.id == Some(reign.shard))
        })
    }

    /// A shard that may be one of an earlier reign's and has neither been read nor failed to answer: a proxy that has just
    /// started must not take what it held for compacted.
    fn yet_unknown(&self, reigns: &[Reign], here: ShardId, floor: i64) -> Option<String> {
        let (_, earlier) = reigns.split_last()?;
        let ends = reigns.iter().skip(1).map(|next| next.after);
        let wanted = earlier.iter().zip(ends).filter(|(_, last)| *last > floor);
        let all_found = wanted.into_iter().all(|(reign, _)| self.shard_of(reign).is_some());
        let mut others = ids(self.shards.len()).filter(|id| *id != here).map(|id| self.shard(id));
        let unknown = others.find(|shard| shard.live.is_none() && shard.error.is_none());
        unknown.filter(|_| !all_found).map(|shard| shard.name.clone())
    }

    /// `shard` serves the last of them.
    fn line(&self, reigns: Vec<Reign>, shard: ShardId, floor: i64) -> Result<RouteLine, ValueError> {
        let mut shards: Vec<_> = reigns.iter().map(|reign| self.shard_of(reign)).collect();
        if let Some(last) = shards.last_mut() {
            *last = Some(shard);
        }
        let timeline = Timeline::new(reigns)
            .map_err(|e| ValueError::Malformed { what: "reign record", error: e.to_string() })?;
        Ok(RouteLine::new(timeline, shards, floor))
    }

    pub(crate) fn is_migrating(&self) -> bool {
        let engines = self.routes.iter().map(|route| &route.engine).chain(self.strangers.values());
        let mut fences = engines.flat_map(|engine| ids(self.shards.len()).filter_map(|id| engine.fence(id)));
        fences.any(|(_, fence)| fence.is_migrating())
    }

    /// The routes that no shard has a fence of, every shard having been read.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Route> {
        let is_missing = |route: &&Route| {
            route.obstructed || matches!(route.engine.answer(), Answer::Wait(Reason::Missing))
        };
        self.routes.iter().filter(is_missing)
    }

    /// Says why routes without a fence get none; `None` for those that no obstacle is known of.
    pub(crate) fn obstruct(&mut self, obstacle: impl Fn(&str) -> Option<String>) {
        let shards = self.shards.len();
        for route in &mut self.routes {
            if route.has_fence(shards) {
                continue;
            }
            let found = obstacle(&route.name);
            route.obstructed = found.is_some();
            route.engine.set_table(found);
        }
    }
}

impl Route {
    pub(crate) fn new(
        name: &str,
        definition: DefinitionHash,
        configured: ShardId,
        shards: &[String],
    ) -> Self {
        Self {
            name: name.to_owned(),
            definition,
            configured,
            engine: RouteEngine::new(name, definition, shards),
            obstructed: false,
            switched: 0,
        }
    }

    fn has_fence(&self, shards: usize) -> bool {
        ids(shards).any(|shard| self.engine.has_fence(shard))
    }
}

impl Shard {
    /// `margin`, in nanoseconds, is taken off every TTL of the session.
    pub(crate) fn new(name: &str, margin: u64) -> Self {
        Self {
            name: name.to_owned(),
            session: Session::new(margin),
            session_written: 0,
            live: None,
            asked_with_table: false,
            identity: None,
            table: None,
            problem: None,
            went_back: None,
            identified: false,
            reigns: Reigns::default(),
            denied_read: false,
            denied_write: false,
            session_error: None,
            error: None,
            sessions: BTreeMap::new(),
            drivers: BTreeMap::new(),
        }
    }

    /// The shard does not let our user keep fences.
    pub(crate) fn is_denied(&self) -> bool {
        self.denied_read || self.denied_write
    }

    /// The shard could not be read. Why says something of our rights only if it is about them.
    pub(crate) fn read_failed(&mut self, error: &UpstreamError) {
        self.error = Some(error.to_string());
        self.denied_read |= is_denied(error);
    }

    pub(crate) fn was_read(&mut self) {
        self.error = None;
        self.denied_read = false;
    }

    /// The session key could not be written.
    pub(crate) fn write_failed(&mut self, error: &UpstreamError) {
        self.denied_write |= is_denied(error);
    }

    /// A Txn that writes the session key was answered: rights are looked at before compares are.
    pub(crate) fn was_written(&mut self) {
        self.denied_write = false;
    }
}

/// Whether the shard does not let our user touch the reserved keys.
pub(crate) fn is_denied(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Status(status) if status.code == Code::PermissionDenied)
}

/// The ids of so many shards.
pub(crate) fn ids(shards: usize) -> impl Iterator<Item = ShardId> {
    (0..shards).filter_map(|i| u16::try_from(i).ok()).map(ShardId)
}
