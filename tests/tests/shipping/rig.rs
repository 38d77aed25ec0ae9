//! An owner and a standby, and what is shipped between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_prism_config::Config;
use etcd_prism_control::RouteLine;
use etcd_prism_migration::ship::{Intervals, Kept, Leases, Limits, Progress, Shipment, Shipper};
use etcd_prism_ownership::migration::{Bound, CopyPoint, Stream, Throttle};
use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_ownership::{Reign, ShardUid, Stored, keys};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{
    CompactionRequest, LeaseGrantRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, RangeRequest,
};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_routing::ShardId;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::request::{get, list, put, txn};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::wait;
use etcd_prism_upstream::configure::{configure, shard_state};
use etcd_prism_upstream::{ShardPool, UpstreamError};
use futures_util::future::BoxFuture;
use rand::Rng;

pub const ROUTE: &str = "pods";

pub struct Side {
    pub cluster: EtcdCluster,
    pub client: Client,
    pub pool: Arc<ShardPool>,
    pub uid: ShardUid,
}

/// Two shards. What is shipped goes from the first to the second, unless a test turns them round.
pub struct Rig {
    pub sides: [Side; 2],
    pub intervals: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Key, value, lease, and the numbers that clients know.
pub type State = BTreeMap<String, (Vec<u8>, i64, ProvenanceRecord)>;

impl Rig {
    pub async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    pub async fn start_with(change: impl Fn(EtcdBuilder) -> EtcdBuilder) -> Self {
        let scratch = Arc::new(Scratch::new());
        let mut sides = Vec::new();
        for (i, name) in ["a", "b"].into_iter().enumerate() {
            let cluster = change(EtcdBuilder::new(name).as_shard()).start(&scratch).await;
            let pool = pool(i, name, &cluster.endpoints());
            sides.push(Side { client: cluster.client(), cluster, pool, uid: ShardUid(i as u128 + 1) });
        }
        let [a, b] = sides.try_into().unwrap_or_else(|_| panic!("two shards"));
        // The standby's line is not the owner's.
        for i in 0..7 {
            write(&b.client, [put_op(&format!("/other/{i}"), "mine")]).await;
        }
        Self { sides: [a, b], intervals: vec![(b"/pods/".to_vec(), b"/pods0".to_vec())] }
    }

    pub fn owner(&self) -> &Client {
        &self.sides[0].client
    }

    pub fn standby(&self) -> &Client {
        &self.sides[1].client
    }

    /// Writes the fence of a side; gives its epoch.
    pub async fn raise(&self, side: usize) -> i64 {
        raise(&self.sides[side].client).await
    }

    /// From the first shard to the second one, under a new epoch, with a copy.
    pub async fn shipment(&self) -> Shipment {
        let reign = Reign { n: 1, shard: self.sides[0].uid, after: 0, raw_start: 1 };
        let epoch = self.raise(1).await;
        self.shipment_of([0, 1], epoch, reign, None, true)
    }

    pub fn shipment_of(
        &self,
        [from, to]: [usize; 2],
        epoch: i64,
        reign: Reign,
        from_line: Option<(Arc<RouteLine>, usize)>,
        copy: bool,
    ) -> Shipment {
        let (from, to) = (&self.sides[from], &self.sides[to]);
        Shipment {
            route: ROUTE.to_owned(),
            intervals: Arc::new(Intervals::new(self.intervals.clone()).expect("intervals")),
            from: from.pool.clone(),
            to: to.pool.clone(),
            from_line,
            stream: Stream {
                from: from.uid,
                to: to.uid,
                epoch,
                reign,
                copy: copy.then(CopyPoint::default),
                after: if reign.after == 0 { 0 } else { reign.raw_start },
                bound: Bound::None,
            },
            limits: Limits::default(),
            throttle: Throttle::default(),
            leases: Arc::new(Bring { from: from.client.clone(), to: to.client.clone() }),
        }
    }

    /// What the owner has of the route at a revision, as its clients see it: it was never moved.
    pub async fn owned(&self, revision: i64) -> State {
        let mut out = State::new();
        for kv in self.keys(self.owner(), revision).await {
            out.insert(name(&kv), (kv.value.to_vec(), kv.lease, record(&kv)));
        }
        out
    }

    /// What the standby has of the route. Every key is in step with its record, and no record lacks its key.
    pub async fn held(&self) -> State {
        let revision = revision(self.standby()).await;
        let mut out = State::new();
        let prefix = keys::provenance(ROUTE, b"");
        let mut request = list(&prefix);
        request.revision = revision;
        let records = self.standby().kv().range(request).await.expect("records").into_inner().kvs;
        let mut records: BTreeMap<Vec<u8>, KeyValue> =
            records.into_iter().map(|kv| (kv.key[prefix.len()..].to_vec(), kv)).collect();
        for kv in self.keys(self.standby(), revision).await {
            let stored = records.remove(&kv.key[..]).unwrap_or_else(|| panic!("no record of {kv:?}"));
            assert_eq!((kv.mod_revision, kv.version), (stored.mod_revision, stored.version), "{}", name(&kv));
            let record = ProvenanceRecord::decode(&stored.value).expect("a record");
            out.insert(name(&kv), (kv.value.to_vec(), kv.lease, record));
        }
        assert!(records.is_empty(), "records without keys: {:?}", records.keys());
        out
    }

    pub async fn keys(&self, client: &Client, revision: i64) -> Vec<KeyValue> {
        let mut out = Vec::new();
        for (start, end) in &self.intervals {
            let (key, range_end) = (start.clone().into(), end.clone().into());
            let request = RangeRequest { key, range_end, revision, ..RangeRequest::default() };
            out.extend(client.kv().range(request).await.expect("keys").into_inner().kvs);
        }
        out
    }

    /// Brings the standby to what the owner has now, and checks that it is exactly that.
    pub async fn check(&self, shipper: &Shipper) -> i64 {
        let g = self.settle(shipper).await;
        let (owned, held) = (self.owned(g).await, self.held().await);
        assert_same(&owned, &held);
        g
    }

    /// As before a switch: stop, read the revision, go exactly there.
    pub async fn settle(&self, shipper: &Shipper) -> i64 {
        shipper.until(|status| status.whole).await.expect("a copy");
        shipper.bound(Bound::Stop).await.expect("a shipper");
        let g = revision(self.owner()).await;
        shipper.reach(g).await.expect("a shipper");
        g
    }

    /// How far the standby is, as it is stored.
    pub async fn progress(&self) -> Progress {
        let request = get(&keys::progress(ROUTE));
        let found = self.standby().kv().range(request).await.expect("a progress").into_inner();
        Progress::decode(&found.kvs.first().expect("a progress").value).expect("a progress")
    }

    /// Ends a lease on one shard, as if nobody had renewed it there.
    pub async fn end(&self, side: usize, lease: i64) {
        let request = LeaseRevokeRequest { id: lease };
        self.sides[side].client.lease().lease_revoke(request).await.expect("a revoke");
    }

    pub async fn compact(&self, side: usize) {
        let client = &self.sides[side].client;
        let request = CompactionRequest { revision: revision(client).await, physical: false };
        client.kv().compact(request).await.expect("compaction");
    }
}

/// A shipper, once nothing of the one before it is under way.
pub async fn alone(job: &Shipment) -> Shipper {
    wait::until("a shipper that is alone", async || {
        let shipper = Shipper::start(job.clone());
        // A write of its own.
        shipper.align(0).await.map(|_| shipper)
    })
    .await
}

pub fn assert_same(owned: &State, held: &State) {
    for (key, owned) in owned {
        assert_eq!(held.get(key), Some(owned), "{key}");
    }
    let extra: Vec<_> = held.keys().filter(|key| !owned.contains_key(*key)).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

fn name(kv: &KeyValue) -> String {
    kv.key.escape_ascii().to_string()
}

pub fn record(kv: &KeyValue) -> ProvenanceRecord {
    ProvenanceRecord {
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
    }
}

pub fn pool(id: usize, name: &str, endpoints: &[String]) -> Arc<ShardPool> {
    let text = format!(
        "[listen]\nclient = \"127.0.0.1:1\"\n[[shard]]\nname = \"{name}\"\nendpoints = {endpoints:?}\n[[route]]\nname = \"rest\"\nshard = \"{name}\"\n"
    );
    let config = Config::parse(&text, "test").unwrap_or_else(|error| panic!("{error}"));
    let configured = configure(&config.shards[0]).expect("a shard");
    Arc::new(ShardPool::new(Arc::new(shard_state(ShardId(id as u16), &config.shards[0], &configured))))
}

pub async fn raise(client: &Client) -> i64 {
    let reply = client.kv().put(put(&keys::fence(ROUTE), "a fence")).await.expect("a fence").into_inner();
    reply.header.expect("a header").revision
}

pub async fn revision(client: &Client) -> i64 {
    let reply = client.kv().range(get("none")).await.expect("a read").into_inner();
    reply.header.expect("a header").revision
}

pub fn put_op(key: &str, value: &str) -> Request {
    Request::RequestPut(put(key, value))
}

pub fn leased_op(key: &str, value: &str, lease: i64) -> Request {
    let mut put = put(key, value);
    put.lease = lease;
    Request::RequestPut(put)
}

pub fn delete_op(key: &str) -> Request {
    Request::RequestDeleteRange(etcd_prism_tests::request::delete(key))
}

/// One transaction; gives its revision.
pub async fn write(client: &Client, ops: impl IntoIterator<Item = Request>) -> i64 {
    let reply = client.kv().txn(txn(ops)).await.expect("a write").into_inner();
    reply.header.expect("a header").revision
}

pub async fn grant(client: &Client, ttl: i64) -> i64 {
    let request = LeaseGrantRequest { ttl, id: 0 };
    client.lease().lease_grant(request).await.expect("a lease").into_inner().id
}

/// Random writes: puts, deletes, several keys at once, other routes in between.
pub async fn random_write(client: &Client, keys: u32) {
    let (ops, other): (Vec<Request>, bool) = {
        let mut rng = rand::rng();
        let mut left: Vec<u32> = (0..rng.random_range(1..4)).map(|_| rng.random_range(0..keys)).collect();
        left.sort_unstable();
        left.dedup();
        let op = |key: u32, rng: &mut rand::rngs::ThreadRng| {
            let key = format!("/pods/{key:05}");
            let len = rng.random_range(1..300);
            if rng.random_bool(0.25) {
                delete_op(&key)
            } else {
                put_op(&key, &format!("{:0len$}", rng.random::<u32>()))
            }
        };
        let ops = left.into_iter().map(|key| op(key, &mut rng)).collect();
        (ops, rng.random_bool(0.2))
    };
    write(client, ops).await;
    if other {
        write(client, [put_op("/other/x", "x"), put_op("/zebra", "z")]).await;
    }
}

/// Keys of the route, `count` of them.
pub async fn fill(client: &Client, count: u32, value: &str) {
    let all: Vec<u32> = (0..count).collect();
    for some in all.chunks(100) {
        write(client, some.iter().map(|i| put_op(&format!("/pods/{i:05}"), value))).await;
    }
}

/// Grants what is alive on one shard on the other, as the proxy does.
pub struct Bring {
    from: Client,
    to: Client,
}

impl Leases for Bring {
    fn bring<'a>(
        &'a self,
        _: &'a str,
        _: ShardId,
        leases: &'a [i64],
    ) -> BoxFuture<'a, Result<bool, UpstreamError>> {
        Box::pin(async move {
            let mut all = true;
            for id in leases {
                let request = LeaseTimeToLiveRequest { id: *id, keys: false };
                let found =
                    self.from.lease().lease_time_to_live(request).await.expect("a lease").into_inner();
                all &= found.ttl >= 0;
                if found.ttl >= 0 {
                    // It may be there already.
                    let request = LeaseGrantRequest { ttl: found.granted_ttl, id: *id };
                    self.to.lease().lease_grant(request).await.ok();
                }
            }
            Ok(all)
        })
    }

    fn keep<'a>(
        &'a self,
        route: &'a str,
        standby: ShardId,
        lease: i64,
    ) -> BoxFuture<'a, Result<Kept, UpstreamError>> {
        Box::pin(async move {
            let there = self.bring(route, standby, &[lease]).await?;
            Ok(if there { Kept::Copy } else { Kept::Ended })
        })
    }

    fn release<'a>(
        &'a self,
        _: &'a str,
        _: ShardUid,
        _: ShardId,
    ) -> BoxFuture<'a, Result<(), UpstreamError>> {
        Box::pin(async { Ok(()) })
    }
}
