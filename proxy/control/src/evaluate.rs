//! Whether the shards are those that they are taken for.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_ownership::id::ShardUid;
use etcd_prism_ownership::identity::{self, IdentityProblem, Live};
use etcd_prism_ownership::value::{Table, TableShard};
use etcd_prism_routing::ShardId;
use etcd_prism_upstream::ShardState;

use crate::state::{Fall, Reigns, State, ids};

impl State {
    /// Notes what a shard said of itself; `known` are the revisions that were known before it was asked.
    pub(crate) fn met(&mut self, shard: ShardId, live: Live, known: &BTreeMap<ShardUid, i64>) {
        let facts = self.shard_mut(shard);
        if facts.live.is_some_and(|before| before.id != live.id) {
            facts.reigns = Reigns::default();
        }
        facts.live = Some(live);
        let Some(id) = live.id else { return };
        if facts.went_back.is_some_and(|fall| fall.of != id) {
            facts.went_back = None;
        }
        let known = known.get(&id).copied().unwrap_or(0);
        if live.revision < known && facts.went_back.is_none() {
            facts.went_back = Some(Fall { of: id, known, found: live.revision, recorded: false });
        }
        if facts.went_back.is_none() {
            self.remember(id, live.revision);
        }
    }

    /// Notes a revision that a member of the shard showed with a renewal. A later one below it is from another time.
    pub(crate) fn reached(&mut self, shard: ShardId, revision: i64) {
        let facts = self.shard(shard);
        if facts.identified
            && facts.went_back.is_none()
            && let Some(id) = facts.live.and_then(|live| live.id)
        {
            self.remember(id, revision);
        }
    }

    /// Compares every shard with the table and with each other, and tells the route engines.
    pub(crate) fn identify(&mut self, upstream: &[Arc<ShardState>]) {
        let doubles = self.doubles();
        for shard in ids(self.shards.len()) {
            let found = self.examine(shard, &doubles, upstream);
            let facts = self.shard_mut(shard);
            facts.identified = matches!(found, Ok(Some(_)));
            let problem = found.as_ref().err().cloned();
            if facts.problem != problem {
                facts.problem.clone_from(&problem);
                if problem.is_some() {
                    facts.session.lost();
                }
                for route in &mut self.routes {
                    route.engine.set_problem(shard, problem.clone());
                }
            }
            if let Ok(Some(id)) = found {
                self.routes.iter_mut().for_each(|route| route.engine.identify(shard, id));
                self.strangers.values_mut().for_each(|engine| engine.identify(shard, id));
            }
        }
    }

    /// The shard's identity, once it is known to be the right one.
    fn examine(
        &self,
        shard: ShardId,
        doubles: &BTreeMap<String, IdentityProblem>,
        upstream: &[Arc<ShardState>],
    ) -> Result<Option<ShardUid>, IdentityProblem> {
        let facts = self.shard(shard);
        let expected = self.table().and_then(|table| expected(table, &facts.name, facts.live));
        let state = upstream.get(usize::from(shard.0));
        if let (Some(expected), Some(state)) = (expected, state) {
            // From now on no connection to another cluster is used, whatever the endpoints lead to.
            state.expect_cluster(expected.cluster_id.0);
            if let Some(found) = state.wrong_cluster() {
                let found = etcd_prism_ownership::ClusterId(found);
                return Err(IdentityProblem::OtherCluster { expected: expected.cluster_id, found });
            }
        }
        if let Some(problem) = doubles.get(&facts.name) {
            return Err(problem.clone());
        }
        let (Some(expected), Some(live)) = (expected, facts.live) else { return Ok(None) };
        if live.id.is_none() && !facts.asked_with_table {
            // Looked at before it got one, at the first start of all.
            return Ok(None);
        }
        identity::check(expected, live, 0)?;
        match facts.went_back {
            Some(Fall { known, found, .. }) => Err(IdentityProblem::Restored { known, found }),
            None if !facts.identified && (self.is_doubtful(shard) || !self.all_asked()) => Ok(None),
            None => Ok(live.id),
        }
    }

    /// Every shard has answered or failed to: what is remembered of a shard elsewhere is known as far as it can be.
    fn all_asked(&self) -> bool {
        self.shards.iter().all(|s| s.live.is_some() || s.error.is_some())
    }

    /// Whether the shard has to be read again before it is trusted for the first time: somebody remembers a higher revision
    /// of it than the one that was found before that was known, or it had no identity before there was a table.
    pub(crate) fn is_doubtful(&self, shard: ShardId) -> bool {
        let facts = self.shard(shard);
        let too_early = facts.live.is_some_and(|live| live.id.is_none()) && !facts.asked_with_table;
        if too_early && self.table().is_some() {
            return true;
        }
        let known = facts.live.and_then(|live| Some((live.revision, *self.known.get(&live.id?)?)));
        !facts.identified && facts.problem.is_none() && known.is_some_and(|(found, known)| found < known)
    }

    fn doubles(&self) -> BTreeMap<String, IdentityProblem> {
        let live = self.shards.iter().filter_map(|s| s.live.map(|live| (s.name.clone(), live)));
        identity::doubles(&live.collect::<Vec<_>>())
    }
}

/// What the table says of a shard: by its name, or by its identity if the table knows it under another one.
fn expected<'a>(table: &'a Table, name: &str, live: Option<Live>) -> Option<&'a TableShard> {
    let named = table.shards.iter().find(|s| s.name == name);
    named.or_else(|| {
        let id = live?.id?;
        table.shards.iter().find(|s| s.id == id)
    })
}
