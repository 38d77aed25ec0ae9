//! Routes that are moved by hand while nobody writes: what the data path makes of a line, without the engine of migrations.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_ownership::value::{Fence, Identity, ProvenanceRecord, ReignRecord, Session, State, Stored};
use etcd_prism_ownership::{Reign, ShardUid, Timeline, keys};
use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, TxnRequest};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::oracle::Oracle;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::request::{delete, get, list, op, put};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;

pub const PODS: &str = "/pods/";
const ROUTE: &str = "pods";

pub struct Rig {
    _proxy: Proxy,
    shards: BTreeMap<&'static str, EtcdCluster>,
    scratch: Arc<Scratch>,
    pub client: Client,
    /// What clients must see of `pods`.
    pub oracle: Oracle,
    pub home: &'static str,
}

/// What a shard says of the route.
struct Found {
    id: ShardUid,
    /// Mod revision and fence.
    fence: Option<(i64, Fence)>,
    /// The line that ends with its own last reign.
    line: Vec<Reign>,
    revision: i64,
}

impl Rig {
    pub async fn start() -> Self {
        let scratch = Arc::new(Scratch::new());
        let shards = Topology::shards(&Layout::movable(), EtcdBuilder::new, &scratch).await;
        let mut builder = ProxyBuilder::new("proxy", Layout::movable());
        for (name, cluster) in &shards {
            builder = builder.shard(name, cluster.endpoints());
        }
        let proxy = builder.start(&scratch).await;
        let client = proxy.client();
        Self { _proxy: proxy, shards, scratch, client, oracle: Oracle::default(), home: "a" }
    }

    /// A proxy that has seen nothing of the moves.
    pub async fn another_proxy(&self) -> Proxy {
        let mut builder = ProxyBuilder::new("another", Layout::movable());
        for (name, cluster) in &self.shards {
            builder = builder.shard(name, cluster.endpoints());
        }
        builder.start(&self.scratch).await
    }

    pub fn shard(&self, name: &str) -> Client {
        self.shards[name].client()
    }

    /// Puts a key below [`PODS`] through the proxy.
    pub async fn put(&mut self, name: &str, value: &str) -> i64 {
        let key = [PODS, name].concat();
        let reply = self.client.kv().put(put(&key, value)).await.expect("a put").into_inner();
        let revision = reply.header.expect("a header").revision;
        self.oracle.put(&key, value.as_bytes(), 0, revision);
        revision
    }

    pub async fn delete(&mut self, name: &str) -> i64 {
        let key = [PODS, name].concat();
        let reply = self.client.kv().delete_range(delete(&key)).await.expect("a deletion").into_inner();
        assert_eq!(reply.deleted, 1);
        let revision = reply.header.expect("a header").revision;
        self.oracle.delete(&key, revision);
        revision
    }

    /// Puts many keys and deletes some.
    pub async fn churn(&mut self, round: usize) {
        for i in 0..12 {
            self.put(&format!("{:02}", (i * 5 + round) % 16), &format!("{round}.{i}")).await;
        }
        self.delete(&format!("{:02}", (round * 5) % 16)).await;
        self.put(&format!("new-{round}"), "x").await;
    }

    /// Moves `pods` to a shard: seal, copy, decide, flip, finish. The shard may have ruled before.
    pub async fn move_to(&mut self, name: &'static str) {
        assert_ne!(name, self.home);
        let (from, to) = (self.shard(self.home), self.shard(name));
        let (owner, target) = (find(&from).await, find(&to).await);
        let (epoch, fence) = owner.fence.clone().expect("an owner");
        assert!(fence.state.is_open(), "{fence:?}");
        let known = fence.n;
        let at = |n, state| Fence { n, state, definition: fence.definition, shard: owner.id };
        let sealed = at(known, State::Sealed { peer: Some(target.id), claim: None });
        let seal = write(&from, epoch, &sealed).await;
        all_let_go(&from, seal).await;
        let copied = copy(&from, &owner, &to).await;
        let epoch = write(
            &to,
            target.fence.as_ref().map_or(0, |(revision, _)| *revision),
            &Fence {
                shard: target.id,
                state: State::Importing { peer: Some(owner.id), claim: None },
                ..fence.clone()
            },
        )
        .await;
        // Other keys of the shard move its line on.
        from.kv().put(put("/elsewhere", "x")).await.expect("a put");
        let reign = owner.line.last().expect("a line");
        let g = find(&from).await.revision + reign.offset();
        assert!(g >= self.oracle.revision() && copied == self.oracle.now().len());
        let flipping =
            at(known + 1, State::Flipping { target: target.id, target_epoch: epoch, g, floor: 0, since: 0 });
        let seal = write(&from, seal, &flipping).await;
        flip(&to, epoch, target.id, &flipping, &owner, g).await;
        write(&from, seal, &at(known + 1, State::Standby { peer: target.id })).await;
        self.home = name;
        let this = &*self;
        wait::until("the proxy serves the new owner", async || {
            let reply = this.client.kv().range(get("/pods/~")).await.map_err(|status| status.to_string())?;
            let header = reply.into_inner().header.expect("a header");
            if header.revision > g { Ok(()) } else { Err(format!("{} is not above {g}", header.revision)) }
        })
        .await;
    }
}

/// Waits until every session at the shard names this seal: what proxies still show of it before lies below G.
async fn all_let_go(shard: &Client, seal: i64) {
    wait::until("every proxy lets go", async || {
        let (sessions, _) = read(shard, list(keys::SESSIONS.key)).await;
        let session = |kv: &KeyValue| Session::decode(&kv.value).expect("a session");
        let waits = |session: &Session| session.acks.get(ROUTE) != Some(&seal);
        match sessions.iter().map(session).find(waits) {
            None => Ok(()),
            Some(session) => Err(session),
        }
    })
    .await;
}

async fn find(shard: &Client) -> Found {
    let fence = first(shard, &keys::fence(ROUTE)).await;
    let reigns = keys::reign(ROUTE, 0);
    let prefix = &reigns[..reigns.len() - 20];
    let (reigns, revision) = read(shard, list(prefix)).await;
    let line =
        reigns.last().map(|kv| ReignRecord::decode(&kv.value).expect("a record").line(kv.mod_revision));
    let identity = first(shard, keys::IDENTITY).await.expect("an identity");
    let identity = Identity::decode(&identity.value).expect("an identity");
    Found {
        id: identity.id,
        fence: fence.map(|kv| (kv.mod_revision, Fence::decode(&kv.value).expect("a fence"))),
        line: line.unwrap_or_default(),
        revision,
    }
}

async fn read(shard: &Client, request: RangeRequest) -> (Vec<KeyValue>, i64) {
    let reply: RangeResponse = shard.kv().range(request).await.expect("a range").into_inner();
    (reply.kvs, reply.header.expect("a header").revision)
}

async fn first(shard: &Client, key: &[u8]) -> Option<KeyValue> {
    read(shard, get(key)).await.0.pop()
}

async fn write(shard: &Client, epoch: i64, fence: &Fence) -> i64 {
    let key = keys::fence(ROUTE);
    let put = put(&key, &fence.encode().expect("a fence"));
    conditional(shard, &[(key, epoch)], vec![put]).await
}

async fn conditional(shard: &Client, compares: &[(Vec<u8>, i64)], puts: Vec<PutRequest>) -> i64 {
    let compare = compares
        .iter()
        .map(|(key, revision)| etcd_prism_tests::request::mod_revision_is(key, *revision))
        .collect();
    let success = puts.into_iter().map(|put| op(Request::RequestPut(put))).collect();
    let txn = TxnRequest { compare, success, ..TxnRequest::default() };
    let reply = shard.kv().txn(txn).await.expect("a transaction").into_inner();
    assert!(reply.succeeded, "somebody else wrote {:?}", compares[0].0.escape_ascii().to_string());
    reply.header.expect("a header").revision
}

/// Row 5 as the engine writes it, with the line of the owner.
async fn flip(shard: &Client, epoch: i64, id: ShardUid, flipping: &Fence, owner: &Found, g: i64) {
    let state = State::Open { peer: Some(owner.id) };
    let fence = Fence { n: flipping.n, definition: flipping.definition, shard: id, state };
    let record =
        ReignRecord { n: flipping.n, shard: id, after: g, floor: 0, since: 0, earlier: owner.line.clone() };
    let (fence_key, record_key) = (keys::fence(ROUTE), keys::reign(ROUTE, flipping.n));
    let puts = vec![
        put(&fence_key, &fence.encode().expect("a fence")),
        put(&record_key, &record.encode().expect("a record")),
    ];
    conditional(shard, &[(fence_key, epoch), (record_key, 0)], puts).await;
}

/// Copies every key with its provenance, in one Txn each; keys that are gone on the owner are deleted. How many there are.
async fn copy(from: &Client, owner: &Found, to: &Client) -> usize {
    let timeline = Timeline::new(owner.line.clone()).expect("a line");
    let up = |raw| timeline.up(owner.id, raw).expect("a revision of this line");
    let (keys_there, revision) = read(from, list(PODS)).await;
    let (old, _) = read(to, list(PODS)).await;
    for kv in &old {
        to.kv().delete_range(delete(&kv.key)).await.expect("a deletion");
    }
    let (records, _) = read(to, list(&keys::provenance(ROUTE, b""))).await;
    for kv in &records {
        to.kv().delete_range(delete(&kv.key)).await.expect("a deletion");
    }
    for kv in &keys_there {
        let (record, _) =
            read(from, RangeRequest { revision, ..get(&keys::provenance(ROUTE, &kv.key)) }).await;
        let record = record.first().map(|r| (r, ProvenanceRecord::decode(&r.value).expect("a record")));
        let shown = match record.filter(|(r, _)| kv.create_revision <= r.mod_revision) {
            Some((r, record)) => ProvenanceRecord {
                create_revision: record.create_revision,
                mod_revision: if kv.mod_revision == r.mod_revision {
                    record.mod_revision
                } else {
                    up(kv.mod_revision)
                },
                version: record.version + kv.version - r.version,
            },
            None => ProvenanceRecord {
                create_revision: up(kv.create_revision),
                mod_revision: up(kv.mod_revision),
                version: kv.version,
            },
        };
        let puts = vec![put(&kv.key, &kv.value), put(&keys::provenance(ROUTE, &kv.key), &shown.encode())];
        conditional(to, &[(keys::MARKER.to_vec(), 0)], puts).await;
    }
    keys_there.len()
}

/// A range of the route at a revision.
pub fn at(revision: i64) -> RangeRequest {
    RangeRequest { revision, ..list(PODS) }
}

pub fn key(name: &str) -> Bytes {
    Bytes::from([PODS, name].concat())
}
