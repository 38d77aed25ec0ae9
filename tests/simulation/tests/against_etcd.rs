//! The simulated shard answers as a real etcd does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_proto::etcdserverpb::response_op::Response as Answer;
use etcd_prism_proto::etcdserverpb::watch_request::RequestUnion;
use etcd_prism_proto::etcdserverpb::*;
use etcd_prism_proto::mvccpb::Event;
use etcd_prism_simulation::etcd::{Shard, routes};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::scratch::Scratch;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tower::ServiceExt;

/// One call. Revisions are relative to the present one, so that they mean something wherever they come.
#[derive(Debug, Clone)]
enum Step {
    Range(RangeRequest),
    Txn(TxnRequest),
    Grant(i64),
    Revoke(i64),
    KeepAlive(i64),
    TimeToLive(i64),
    Leases,
    Compact(i64),
    Watch(WatchCreateRequest),
}

fn key() -> impl Strategy<Value = Bytes> {
    select(vec!["a", "b", "b/1", "b/2", "c", "d"]).prop_map(Bytes::from)
}

fn end() -> impl Strategy<Value = Bytes> {
    select(vec!["", "", "\0", "b0", "c", "zz"]).prop_map(Bytes::from)
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0_i64), 1 => 1..4_i64]
}

/// 0, or relative to the present one.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0_i64), 2 => -12..2_i64]
}

fn range() -> impl Strategy<Value = RangeRequest> {
    let numbers = (0..4_i64, revision(), 0..3_i32, 0..5_i32);
    let bounds = prop_oneof![3 => Just([0_i64; 4]), 1 => [0..20_i64, 0..20_i64, 0..20_i64, 0..20_i64]];
    (key(), end(), numbers, bounds, any::<bool>(), prop::bool::weighted(0.2)).prop_map(
        |(key, range_end, (limit, revision, sort_order, sort_target), bounds, keys_only, count_only)| {
            let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] = bounds;
            RangeRequest {
                key,
                range_end,
                limit,
                revision,
                sort_order,
                sort_target,
                keys_only,
                count_only,
                min_mod_revision,
                max_mod_revision,
                min_create_revision,
                max_create_revision,
                ..RangeRequest::default()
            }
        },
    )
}

fn compare() -> impl Strategy<Value = Compare> {
    let union = prop_oneof![
        (0..3_i64).prop_map(|v| (CompareTarget::Version, TargetUnion::Version(v))),
        (0..30_i64).prop_map(|v| (CompareTarget::Mod, TargetUnion::ModRevision(v))),
        (0..30_i64).prop_map(|v| (CompareTarget::Create, TargetUnion::CreateRevision(v))),
        lease().prop_map(|v| (CompareTarget::Lease, TargetUnion::Lease(v))),
        select(vec!["", "x", "y"]).prop_map(|v| (CompareTarget::Value, TargetUnion::Value(v.into()))),
    ];
    let results =
        [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Greater, CompareResult::Less];
    (key(), end(), union, select(results.to_vec())).prop_map(|(key, range_end, (target, union), result)| {
        Compare { key, range_end, target: target.into(), result: result.into(), target_union: Some(union) }
    })
}

/// Ops that change no key twice: etcd refuses those.
fn ops() -> impl Strategy<Value = Vec<RequestOp>> {
    let keys = Just(vec!["a", "b", "b/1", "b/2", "c", "d"]).prop_shuffle();
    let kinds = vec((0..4_u8, range(), lease(), any::<[bool; 3]>()), 0..4);
    (keys, kinds).prop_map(|(keys, kinds)| {
        let op = |(key, (kind, range, lease, flags)): (&str, (u8, RangeRequest, i64, [bool; 3]))| {
            let key = Bytes::copy_from_slice(key.as_bytes());
            let [prev_kv, ignore_value, ignore_lease] = flags;
            let request = match kind {
                0 => Op::RequestRange(range),
                1 => Op::RequestDeleteRange(DeleteRangeRequest { key, range_end: Bytes::new(), prev_kv }),
                // Who keeps the value sends none; who keeps the lease names none.
                _ => Op::RequestPut(PutRequest {
                    key,
                    value: if ignore_value { Bytes::new() } else { Bytes::from(format!("{lease}x")) },
                    lease: if ignore_lease { 0 } else { lease },
                    prev_kv,
                    ignore_value,
                    ignore_lease,
                }),
            };
            RequestOp { request: Some(request) }
        };
        keys.into_iter().zip(kinds).map(op).collect()
    })
}

fn flat() -> impl Strategy<Value = TxnRequest> {
    (vec(compare(), 0..2), ops(), ops()).prop_map(|(compare, success, failure)| TxnRequest {
        compare,
        success,
        failure,
    })
}

/// With a transaction within, in either branch, as proxies send them.
fn nested() -> impl Strategy<Value = TxnRequest> {
    (vec(compare(), 0..2), flat(), range(), any::<bool>()).prop_map(|(compare, inner, range, in_success)| {
        let inner = RequestOp { request: Some(Op::RequestTxn(inner)) };
        let range = RequestOp { request: Some(Op::RequestRange(range)) };
        let (success, failure) = if in_success { (inner, range) } else { (range, inner) };
        TxnRequest { compare, success: vec![success], failure: vec![failure] }
    })
}

fn watch() -> impl Strategy<Value = WatchCreateRequest> {
    (key(), end(), -15..1_i64, any::<bool>(), vec(0..2_i32, 0..2)).prop_map(
        |(key, range_end, start_revision, prev_kv, filters)| WatchCreateRequest {
            key,
            range_end,
            start_revision,
            prev_kv,
            filters,
            ..WatchCreateRequest::default()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => range().prop_map(Step::Range),
        10 => flat().prop_map(Step::Txn),
        5 => nested().prop_map(Step::Txn),
        2 => (1..4_i64).prop_map(Step::Grant),
        1 => (1..4_i64).prop_map(Step::Revoke),
        1 => (1..4_i64).prop_map(Step::KeepAlive),
        1 => (1..4_i64).prop_map(Step::TimeToLive),
        1 => Just(Step::Leases),
        1 => (-8..2_i64).prop_map(Step::Compact),
        2 => watch().prop_map(Step::Watch),
    ]
}

/// A reply, in a form in which equal means equal.
type Shown = Result<String, String>;

/// One of the two, and the revision that it was at.
struct Side {
    client: Client,
    revision: i64,
}

impl Side {
    fn at(&self, relative: i64) -> i64 {
        if relative == 0 { 0 } else { (self.revision + relative).max(1) }
    }

    fn shown<T>(
        &mut self,
        reply: Result<tonic::Response<T>, Status>,
        header: impl Fn(&mut T) -> &mut Option<ResponseHeader>,
    ) -> Result<T, String> {
        let mut reply = reply.map_err(|s| format!("{:?} {}", s.code(), s.message()))?.into_inner();
        let header = header(&mut reply);
        let revision = header.as_ref().map_or(0, |header| header.revision);
        self.revision = self.revision.max(revision);
        *header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        Ok(reply)
    }

    async fn take(&mut self, step: Step) -> Shown {
        match step {
            Step::Range(mut range) => {
                range.revision = self.at(range.revision);
                let reply = self.client.kv().range(range).await;
                Ok(format!("{:?}", self.shown(reply, |reply| &mut reply.header)?))
            }
            Step::Txn(mut txn) => {
                self.place(&mut txn);
                let reply = self.client.kv().txn(txn).await;
                let mut reply = self.shown(reply, |reply| &mut reply.header)?;
                without_ids(&mut reply);
                Ok(format!("{reply:?}"))
            }
            Step::Grant(id) => {
                let reply = self.client.lease().lease_grant(LeaseGrantRequest { ttl: 600, id }).await;
                Ok(format!("{:?}", self.shown(reply, |reply| &mut reply.header)?))
            }
            Step::Revoke(id) => {
                let reply = self.client.lease().lease_revoke(LeaseRevokeRequest { id }).await;
                Ok(format!("{:?}", self.shown(reply, |reply| &mut reply.header)?))
            }
            Step::KeepAlive(id) => {
                let asked = tokio_stream::once(LeaseKeepAliveRequest { id });
                let mut replies =
                    self.client.lease().lease_keep_alive(asked).await.expect("a stream").into_inner();
                let reply = replies.message().await.expect("a reply").expect("one reply");
                Ok(format!("{:?}", self.shown(Ok(tonic::Response::new(reply)), |reply| &mut reply.header)?))
            }
            Step::TimeToLive(id) => {
                let asked = LeaseTimeToLiveRequest { id, keys: true };
                let reply = self.client.lease().lease_time_to_live(asked).await;
                let mut reply = self.shown(reply, |reply| &mut reply.header)?;
                // Some seconds may have passed.
                reply.ttl = reply.ttl.signum();
                reply.keys.sort();
                Ok(format!("{reply:?}"))
            }
            Step::Leases => {
                let reply = self.client.lease().lease_leases(LeaseLeasesRequest {}).await;
                let mut reply = self.shown(reply, |reply| &mut reply.header)?;
                reply.leases.sort_by_key(|lease| lease.id);
                Ok(format!("{reply:?}"))
            }
            Step::Compact(revision) => {
                let asked = CompactionRequest { revision: self.revision + revision, physical: false };
                let reply = self.client.kv().compact(asked).await;
                Ok(format!("{:?}", self.shown(reply, |reply| &mut reply.header)?))
            }
            Step::Watch(mut create) => {
                create.start_revision = (self.revision + create.start_revision).max(1);
                Ok(format!("{:?}", self.watch(create).await))
            }
        }
    }

    fn place(&self, txn: &mut TxnRequest) {
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut op.request {
                Some(Op::RequestRange(range)) => range.revision = self.at(range.revision),
                Some(Op::RequestTxn(nested)) => self.place(nested),
                _ => {}
            }
        }
    }

    /// What a watcher is told up to now, and at which revision it was cancelled as compacted.
    async fn watch(&self, create: WatchCreateRequest) -> (Vec<Event>, i64) {
        let (requests, sent) = mpsc::unbounded_channel();
        let ask = |union| requests.send(WatchRequest { request_union: Some(union) }).expect("a stream");
        ask(RequestUnion::CreateRequest(create));
        let replies = self.client.watch().watch(UnboundedReceiverStream::new(sent)).await;
        let mut replies = replies.expect("a stream").into_inner();
        let mut events = Vec::new();
        loop {
            // Progress that is asked for too early is not answered: a watcher has to have caught up.
            let reply = match tokio::time::timeout(Duration::from_millis(50), replies.message()).await {
                Ok(reply) => reply.expect("a reply").expect("a stream that does not end"),
                Err(_) => {
                    ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
                    continue;
                }
            };
            if reply.canceled {
                return (events, reply.compact_revision);
            }
            if reply.watch_id == -1 {
                assert!(reply.header.is_some_and(|header| header.revision >= self.revision), "progress");
                return (events, 0);
            }
            events.extend(reply.events);
        }
    }
}

/// Headers within a transaction hold nothing but a revision.
fn without_ids(reply: &mut TxnResponse) {
    for op in &mut reply.responses {
        if let Some(Answer::ResponseTxn(nested)) = &mut op.response {
            without_ids(nested);
        }
    }
}

/// Serves a simulated shard on a real port.
async fn simulated() -> Client {
    let begun = std::time::Instant::now();
    let shard = Shard::new(7, Arc::new(move || begun.elapsed()), Arc::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let routes = routes(&shard);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let routes = routes.clone();
            let service = service_fn(move |request| {
                let routes = routes.clone();
                async move { Ok::<_, Infallible>(routes.oneshot(request).await.unwrap_or_else(|e| match e {})) }
            });
            let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(served);
        }
    });
    Client::new(&format!("http://{address}"))
}

async fn compared(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let scratch = Arc::new(Scratch::new());
    let etcd = EtcdBuilder::new("real").start(&scratch).await;
    let mut real = Side { client: etcd.client(), revision: 1 };
    let mut stand_in = Side { client: simulated().await, revision: 1 };
    for (i, step) in steps.into_iter().enumerate() {
        let expected = real.take(step.clone()).await;
        let found = stand_in.take(step.clone()).await;
        prop_assert_eq!(found, expected, "step {}: {:?}", i, step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_simulated_shard_answers_as_etcd(steps in vec(step(), 120..200)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(compared(steps))?;
    }
}
