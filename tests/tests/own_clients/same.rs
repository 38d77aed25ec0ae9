//! The services answer as etcd's own: keys, values, headers, codes and texts.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, ResponseHeader};
use etcd_prism_proto::mvccpb::KeyValue;
use etcd_prism_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use etcd_prism_proto::v3lockpb::{LockRequest, UnlockRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::put;
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::tools::Version;
use tonic::{Response, Status};

use crate::site::{Site, time_to_live, waiting};

/// What a client was told, and what there is afterwards.
struct Script {
    client: Client,
    revisions: BTreeSet<i64>,
    told: Vec<String>,
}

impl Script {
    async fn on(client: Client, key: &str) -> Self {
        client.kv().put(put(key, "begin")).await.expect("a write");
        Self { client, revisions: BTreeSet::new(), told: Vec::new() }
    }

    /// A revision, by its order among those that were told: the proxy's own writes come in between.
    fn revision(&mut self, revision: i64) -> String {
        self.revisions.insert(revision);
        format!("@{revision}@")
    }

    fn finish(mut self) -> Vec<String> {
        for (i, revision) in self.revisions.iter().enumerate() {
            let told = self.told.iter_mut();
            told.for_each(|line| *line = line.replace(&format!("@{revision}@"), &format!("#{i}")));
        }
        self.told
    }

    fn note<T>(
        &mut self,
        what: &str,
        reply: Result<Response<T>, Status>,
        tell: impl FnOnce(&T) -> (Option<ResponseHeader>, String),
    ) -> Option<T> {
        let (line, reply) = match reply {
            Ok(reply) => {
                let reply = reply.into_inner();
                let (header, text) = tell(&reply);
                let revision = self.revision(header.expect("a header").revision);
                (format!("{what}: {text} at {revision}"), Some(reply))
            }
            Err(status) => (format!("{what}: {:?} {}", status.code(), status.message()), None),
        };
        self.told.push(line);
        reply
    }

    async fn keys(&mut self, name: &str) {
        for kv in waiting(&self.client, name).await {
            let (created, modified) = (self.revision(kv.create_revision), self.revision(kv.mod_revision));
            let written = format!("created {created}, modified {modified}, version {}", kv.version);
            self.key(&kv, &written);
        }
    }

    /// Of a session that asked again: etcd leaves its key as it is, the proxy writes it, so that the first call cannot take
    /// back what the second relies on.
    async fn keys_asked_for_again(&mut self, name: &str) {
        for kv in waiting(&self.client, name).await {
            let created = self.revision(kv.create_revision);
            self.key(&kv, &format!("created {created}"));
        }
    }

    fn key(&mut self, kv: &KeyValue, written: &str) {
        let (key, value) = (String::from_utf8_lossy(&kv.key), kv.value.len());
        self.told.push(format!("  {key} = {value} bytes, {written}, lease {}", kv.lease));
    }

    async fn grant(&mut self, id: i64) {
        let granted = self.client.lease().lease_grant(LeaseGrantRequest { id, ttl: 600 }).await;
        self.told.push(format!("grant {id}: {:?}", granted.map(|r| r.into_inner().ttl)));
    }

    async fn locks(&mut self, base: &str) {
        let key = |key: &Bytes| String::from_utf8_lossy(key).into_owned();
        let name = format!("{base}/lock");
        for lease in [11, 0x7abc, -16] {
            let request = LockRequest { name: name.clone().into(), lease };
            let reply = self.client.lock().lock(request.clone()).await;
            self.note("lock without a lease", reply, |r| (r.header, key(&r.key)));
            self.grant(lease).await;
            let reply = self.client.lock().lock(request.clone()).await;
            self.note("lock", reply, |r| (r.header, key(&r.key)));
            self.keys(&name).await;
            let again = self.client.lock().lock(request).await.expect("the lock").into_inner();
            self.told.push(format!("lock again: {}", key(&again.key)));
            self.keys_asked_for_again(&name).await;
            for what in ["unlock", "unlock again"] {
                let request = UnlockRequest { key: again.key.clone() };
                let reply = self.client.lock().unlock(request).await;
                self.note(what, reply, |r| (r.header, String::new()));
            }
        }
        let reply = self.client.lock().unlock(UnlockRequest { key: Bytes::new() }).await;
        self.note("unlock nothing", reply, |r| (r.header, String::new()));
        // Under a lease of the service's own.
        let request = LockRequest { name: name.clone().into(), lease: 0 };
        let reply = self.client.lock().lock(request).await.expect("a lock").into_inner();
        let id = String::from_utf8_lossy(&reply.key).rsplit_once('/').map(|(_, hex)| hex.to_owned());
        let id = i64::from_str_radix(&id.expect("a key"), 16).expect("a lease in hexadecimal");
        let lease = time_to_live(&self.client, id).await;
        self.told.push(format!("own lease: {} s, keys {}", lease.granted_ttl, lease.keys.len()));
    }

    async fn elections(&mut self, base: &str) {
        let name = Bytes::from(format!("{base}/election"));
        let text = String::from_utf8_lossy(&name).into_owned();
        let leader = LeaderRequest { name: name.clone() };
        let reply = self.client.election().leader(leader.clone()).await;
        self.note("leader of nobody", reply, |r| (r.header, String::new()));
        let reply = self.client.election().proclaim(ProclaimRequest::default()).await;
        self.note("proclaim for nobody", reply, |r| (r.header, String::new()));
        let reply = self.client.election().resign(ResignRequest::default()).await;
        self.note("resign for nobody", reply, |r| (r.header, String::new()));
        self.grant(21).await;
        let campaign =
            |value: &'static str| CampaignRequest { name: name.clone(), lease: 21, value: value.into() };
        let reply = self.client.election().campaign(campaign("one")).await;
        let reply = self.note("campaign", reply, |r| {
            let leader = r.leader.clone().expect("a leader");
            (r.header, format!("{:?} {:?} {}", leader.name, leader.key, leader.lease))
        });
        let key = reply.expect("the lead").leader.expect("a leader");
        let rev = self.revision(key.rev);
        self.told.push(format!("  rev {rev}"));
        self.keys(&text).await;
        let reply = self.client.election().leader(leader).await;
        self.note("leader", reply, |r| {
            let kv = r.kv.as_ref().expect("a key");
            (r.header, format!("{:?} {:?} {}", kv.key, kv.value, kv.lease))
        });
        let wrong = LeaderKey { rev: key.rev + 1, ..key.clone() };
        let elsewhere = LeaderKey { lease: 4711, ..key.clone() };
        let nothing = LeaderKey { key: Bytes::new(), ..key.clone() };
        for (what, leader, len) in [
            ("proclaim", &key, 3),
            ("proclaim with another revision", &wrong, 3),
            ("proclaim under no lease", &elsewhere, 3),
            ("proclaim without a key", &nothing, 3),
            ("proclaim too much", &key, 1_600_000),
        ] {
            let request = ProclaimRequest { leader: Some(leader.clone()), value: vec![b'v'; len].into() };
            let reply = self.client.election().proclaim(request).await;
            self.note(what, reply, |r| (r.header, String::new()));
            self.keys(&text).await;
        }
        for (what, leader) in [
            ("resign with another revision", &wrong),
            ("resign without a key", &nothing),
            ("resign under no lease", &elsewhere),
            ("resign again", &key),
        ] {
            let reply = self.client.election().resign(ResignRequest { leader: Some(leader.clone()) }).await;
            self.note(what, reply, |r| (r.header, String::new()));
            self.keys(&text).await;
        }
        for value in ["one", "one", "two"] {
            let reply =
                self.client.election().campaign(campaign(value)).await.expect("the lead").into_inner();
            let leader = reply.leader.expect("a leader");
            let rev = self.revision(leader.rev);
            self.told.push(format!("campaign {value}: {:?} rev {rev} lease {}", leader.key, leader.lease));
            self.keys_asked_for_again(&text).await;
        }
    }

    async fn run(mut self, base: &str) -> Vec<String> {
        self.locks(base).await;
        self.elections(base).await;
        self.finish()
    }
}

async fn as_etcd(version: Version) {
    let site = Site::start_with(|name| EtcdBuilder::new(name).version(version)).await;
    for (base, proxy) in [("/registry/pods", &site.proxies[0]), ("/registry/events", &site.proxies[1])] {
        let scratch = Arc::new(Scratch::new());
        let direct = EtcdBuilder::new("direct").version(version).start(&scratch).await;
        let etcds = Script::on(direct.client(), base).await.run(base).await;
        let ours = Script::on(proxy.client(), base).await.run(base).await;
        for (etcds, ours) in etcds.iter().zip(&ours) {
            assert_eq!(etcds, ours, "of {base}");
        }
        assert_eq!(etcds.len(), ours.len());
        println!("{}", ours.join("\n"));
        // The leases' ids are used once per etcd.
        for id in [11, 0x7abc, -16, 21] {
            crate::site::revoke(&proxy.client(), id).await.expect("a revoke");
        }
    }
}

#[tokio::test]
async fn as_the_newest_etcd() {
    as_etcd(Version::Newest).await;
}

#[tokio::test]
async fn as_the_oldest_etcd() {
    as_etcd(Version::V3_5).await;
}

#[tokio::test]
async fn reserved_names_are_refused() {
    let site = Site::start().await;
    let client = site.proxies[0].client();
    let name = Bytes::from_static(b"\xffprism/x");
    let key = LeaderKey { key: name.clone(), name: name.clone(), rev: 1, lease: 1 };
    let (mut locks, mut elections) = (client.lock(), client.election());
    let refused = [
        locks.lock(LockRequest { name: name.clone(), lease: 0 }).await.map(drop),
        locks.unlock(UnlockRequest { key: name.clone() }).await.map(drop),
        elections.campaign(CampaignRequest { name: name.clone(), ..Default::default() }).await.map(drop),
        elections
            .proclaim(ProclaimRequest { leader: Some(key.clone()), value: Bytes::new() })
            .await
            .map(drop),
        elections.resign(ResignRequest { leader: Some(key) }).await.map(drop),
        elections.leader(LeaderRequest { name: name.clone() }).await.map(drop),
        elections.observe(LeaderRequest { name }).await.map(drop),
    ];
    for refused in refused {
        let refused = refused.expect_err("a reserved name");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains("reserved"), "{refused:?}");
    }
    // A name over the keys of several shards has no oldest key.
    let request = LockRequest { name: "/registry".into(), lease: 0 };
    let refused = locks.lock(request).await.expect_err("a name that spans shards");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("a lock cannot span the routes"), "{refused:?}");
}
