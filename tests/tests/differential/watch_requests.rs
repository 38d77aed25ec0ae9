//! What an episode watches, what it must not be able to watch, and the writes that only watches care about.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::watch_create_request::FilterType;
use etcd_prism_proto::etcdserverpb::{DeleteRangeRequest, WatchCreateRequest};
use etcd_prism_tests::request::{delete, prefix_end, put, txn};
use etcd_prism_tests::watch_stream::WatchStream;
use rand::Rng;

use crate::call::Call;
use crate::episode::{Pair, Watcher};
use crate::run::Run;
use crate::state::FUTURE;

impl Run {
    /// One to four watches.
    pub(crate) fn watch_requests(&mut self) -> Vec<WatchCreateRequest> {
        let count = self.generator.rng.random_range(1..=4);
        (0..count).map(|index| self.watch_request(index)).collect()
    }

    fn watch_request(&mut self, index: i64) -> WatchCreateRequest {
        let generator = &mut self.generator;
        let route = generator.keys.route(&mut generator.rng);
        let spanning = generator.chance(10);
        let (key, range_end) = match generator.rng.random_range(0..10) {
            _ if spanning => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
            0..3 => (generator.keys.key(&mut generator.rng, route), Bytes::new()),
            3..9 => {
                let prefix = generator.keys.prefix(&mut generator.rng, route);
                let end = prefix_end(&prefix);
                (prefix, end)
            }
            // An empty key in a create is the first key there is.
            _ => (Bytes::new(), Bytes::new()),
        };
        let route = if key.is_empty() { self.state.layout.default_route() } else { route };
        let start_revision = match generator.rng.random_range(0..10) {
            _ if spanning => 0,
            0..4 => 0,
            4..6 => generator.kept_revision(&self.state, route).unwrap_or(0),
            6..8 => generator.kept_revision(&self.state, route).map_or(0, |revision| revision + 1),
            8 => generator.compacted_revision(&self.state, route).unwrap_or(0),
            _ => FUTURE,
        };
        let filters = [FilterType::Noput, FilterType::Nodelete];
        let filters = filters.into_iter().filter(|_| generator.chance(15)).map(i32::from).collect();
        WatchCreateRequest {
            key,
            range_end,
            start_revision,
            filters,
            progress_notify: generator.chance(30),
            prev_kv: generator.chance(50),
            fragment: generator.chance(30),
            watch_id: if generator.chance(25) { 1_000 + index } else { 0 },
        }
    }

    /// Creates that cannot be, on a stream that must outlive them; and requests that do nothing.
    pub(crate) async fn refuse_creates(
        &mut self,
        streams: &mut Pair<WatchStream>,
        watchers: &[Watcher],
    ) -> Result<(), String> {
        let route = self.generator.keys.route(&mut self.generator.rng);
        let key = self.generator.keys.key(&mut self.generator.rng, route);
        let negative = WatchCreateRequest { key: key.clone(), start_revision: -1, ..Default::default() };
        let prefix = self.generator.keys.prefix(&mut self.generator.rng, route);
        let [low, high] = [b"a", b"b"].map(|end| Bytes::from([&prefix[..], end].concat()));
        let reversed = WatchCreateRequest { key: high, range_end: low, ..Default::default() };
        let mut requests = vec![negative, reversed];
        let alive = watchers.iter().filter(|watcher| !watcher.is_compacted(self.state.compacted));
        let taken = alive.map(|watcher| watcher.request().watch_id).find(|id| *id != 0);
        requests.extend(taken.map(|watch_id| WatchCreateRequest { key, watch_id, ..Default::default() }));
        let index = self.generator.rng.random_range(0..requests.len());
        if self.create(streams, &requests[index]).await?.is_some() {
            return Err(format!("a watch that cannot be was created: {:?}", requests[index]));
        }
        self.coverage.option("watch: request without a variant");
        self.coverage.option("watch: cancel of an unknown id");
        for stream in streams.iter() {
            stream.send_nothing();
            stream.send_cancel(77_777);
        }
        self.refuse_spanning().await
    }

    /// A watch over several shards begins now or not at all.
    async fn refuse_spanning(&mut self) -> Result<(), String> {
        if self.state.layout.shards().len() < 2 {
            return Ok(());
        }
        self.coverage.option("refused: watch from a revision");
        let mut stream = WatchStream::open(&self.setup.subject);
        let everything = Bytes::from_static(b"\0");
        let (key, range_end) = (everything.clone(), everything);
        let request = WatchCreateRequest { key, range_end, start_revision: 1, ..Default::default() };
        let answer = stream.create(request).await;
        match answer.canceled && answer.watch_id == -1 && !answer.cancel_reason.is_empty() {
            true => Ok(()),
            false => Err(format!("a watch over all shards from a revision is answered with {answer:?}")),
        }
    }

    /// Values so large that a watcher with `fragment` gets their change in fragments.
    pub(crate) async fn large_events(&mut self, watchers: &[Watcher]) -> Result<(), String> {
        let wanted = |watcher: &&Watcher| {
            let request = watcher.request();
            request.fragment && request.prev_kv && request.filters.is_empty() && request.range_end.len() > 1
        };
        let Some(watcher) = watchers.iter().find(wanted) else { return Ok(()) };
        let value = vec![b'v'; 700_000];
        let keys = [b"1", b"2"].map(|end| [&watcher.request().key[..], end].concat());
        for _ in 0..2 {
            let puts = keys.iter().map(|key| Request::RequestPut(put(key, &value)));
            self.succeed(&Call::Txn(txn(puts))).await?;
        }
        let [first, _] = &keys;
        let range_end = [&watcher.request().key[..], b"3"].concat().into();
        self.succeed(&Call::Delete(DeleteRangeRequest { range_end, ..delete(first) })).await.map(drop)
    }
}
