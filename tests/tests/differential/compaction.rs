//! Compactions, as kube-apiserver asks for them.
//!
//! The number that a client compacts at is in the line of the route of `compact_rev_key`. The subject's other shards are
//! compacted at older revisions of their own, and a little later, so what is compacted there has to be asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{
    CompactionRequest, RangeRequest, TxnRequest, WatchCreateRequest, request_op::Request,
};
use etcd_prism_tests::request::{get, op, put, version_is, watch};
use etcd_prism_tests::wait::DEADLINE;
use etcd_prism_tests::watch_stream::WatchStream;
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::call::{Call, Reply};
use crate::run::Run;

const COMPACT_KEY: &str = "compact_rev_key";

impl Run {
    /// Writes `compact_rev_key` as kube-apiserver does, at a revision that a later compaction may name.
    pub(crate) async fn mark(&mut self) -> Result<(), String> {
        let [Reply::Range(found), _] = self.succeed(&Call::Range(get(COMPACT_KEY))).await? else {
            unreachable!()
        };
        let version = found.kvs.first().map_or(0, |kv| kv.version);
        let txn = TxnRequest {
            compare: vec![version_is(COMPACT_KEY, version)],
            success: vec![op(Request::RequestPut(put(COMPACT_KEY, &self.operations.to_string())))],
            failure: vec![op(Request::RequestRange(get(COMPACT_KEY)))],
        };
        let [Reply::Txn(written), _] = self.succeed(&Call::Txn(txn)).await? else { unreachable!() };
        self.marks.push_back(written.header.map_or(0, |header| header.revision));
        Ok(())
    }

    /// Compacts at the oldest mark.
    pub(crate) async fn compact(&mut self) -> Result<(), String> {
        let Some(revision) = self.marks.pop_front() else { return self.mark().await };
        let physical = self.generator.chance(30);
        self.succeed(&Call::Compact(CompactionRequest { revision, physical })).await?;
        self.state.compact(revision);
        self.find_compacted().await
    }

    /// Compacts until every shard of the subject has compacted what is written there now.
    pub(crate) async fn compact_everything(&mut self) -> Result<(), String> {
        const PAUSE: Duration = Duration::from_millis(300);
        let line = |route: &str| self.state.revisions(route);
        let newest = |route: &str| {
            line(route).writes().next_back().and_then(|revision| line(route).translate(revision))
        };
        let routes = self.setup.layout.routes.iter().map(|route| route.name);
        let goals: BTreeMap<_, _> = routes.map(|route| (route, newest(route).unwrap_or(0))).collect();
        let end = Instant::now() + DEADLINE;
        while let Some((route, goal)) =
            goals.iter().find(|(route, goal)| self.state.compacted_shard(route) < **goal)
        {
            if Instant::now() > end {
                let reached = self.state.compacted_shard(route);
                return Err(format!("route {route} is compacted at {reached} and not at {goal}"));
            }
            self.marks.clear();
            self.mark().await?;
            self.compact().await?;
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Asks the subject where each route is compacted: a watch from the beginning is told.
    async fn find_compacted(&mut self) -> Result<(), String> {
        for route in self.setup.layout.routes.clone() {
            let key = self.generator.keys.key(&mut self.generator.rng, route.name);
            let read = Call::Range(RangeRequest { revision: 1, ..get(&key) });
            match read.send(&self.setup.subject).await {
                Ok(_) => continue,
                Err(status) if status.code() == Code::OutOfRange => {}
                Err(status) => return Err(format!("a read of {} at revision 1: {status:?}", route.name)),
            }
            let mut stream = WatchStream::open(&self.setup.subject);
            stream.create(WatchCreateRequest { start_revision: 1, ..watch(&key) }).await;
            let end = stream.wait_for("canceled", |response| response.canceled).await;
            self.state.compact_shard(route.name, end.compact_revision)?;
        }
        Ok(())
    }
}
