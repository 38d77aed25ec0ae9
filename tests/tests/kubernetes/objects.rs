//! Everything that kubectl does with objects of all kinds, where the objects end up, and compaction on the way.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::LeaseTimeToLiveRequest;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::kube::api::Patch;
use etcd_prism_tests::kube::apiserver::{ApiServer, ApiServerBuilder};
use etcd_prism_tests::kube::load::{Load, pages};
use etcd_prism_tests::kube::minor::minors;
use etcd_prism_tests::kube::objects::{Kind, NUMBER, numbered};
use etcd_prism_tests::kube::storage::{Contents, compacted_revision};
use etcd_prism_tests::layout::{Layout, Route};
use etcd_prism_tests::request::get;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use serde_json::Value;

use crate::site;

const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_all_kinds_live_on_their_own_shards() {
    for minor in minors() {
        let topology = topology().await;
        let server = ApiServerBuilder::new("apiserver", minor, vec![topology.proxy.endpoint()])
            .compaction_interval(Duration::from_secs(30))
            .start(&topology.scratch)
            .await;
        server.define_widgets().await;
        let before = site::revisions(&topology).await;
        create_and_find(&topology, &server).await;
        events_expire(&topology).await;
        page_by_page(&server).await;
        patch_under_watch(&server).await;
        apply_and_delete(&topology, &server).await;
        every_shard_is_compacted(&topology, &server, &before).await;
        Contents::read(&topology).await.assert_every_key_at_home(&topology);
    }
}

/// The four shards, and one for a custom resource.
async fn topology() -> Topology {
    let mut layout = Layout::four_shards();
    let prefixes = vec!["/registry/prism.test/widgets/"];
    layout.routes.insert(0, Route { name: "widgets", prefixes, shard: "widgets" });
    Topology::start_with(layout, EtcdBuilder::new, |proxy| proxy).await
}

fn all_objects() -> Vec<Value> {
    Kind::ALL.into_iter().flat_map(|kind| NAMES.map(|name| kind.object(name))).collect()
}

async fn create_and_find(topology: &Topology, server: &ApiServer) {
    server.kubectl().run_on(&["create"], &all_objects()).await;
    let contents = Contents::read(topology).await;
    for kind in Kind::ALL {
        let home = match kind {
            Kind::Pod => "pods",
            Kind::Event => "events",
            Kind::Lease => "leases",
            Kind::Widget => "widgets",
            Kind::ConfigMap | Kind::Secret => "rest",
        };
        for name in NAMES {
            assert_eq!(contents.shards_with(&kind.key(name)), [home], "{} {name}", kind.resource());
        }
    }
    let definition = "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.prism.test";
    assert_eq!(contents.shards_with(definition), ["rest"]);
    contents.assert_every_key_at_home(topology);
}

/// An event is bound to a lease of a bit more than an hour, which its shard has and the proxy knows.
async fn events_expire(topology: &Topology) {
    let key = Kind::Event.key(NAMES[0]);
    let stored = topology.shard_client("events").kv().range(get(&key)).await.expect("an event").into_inner();
    let request = LeaseTimeToLiveRequest { id: stored.kvs[0].lease, keys: true };
    for client in [topology.shard_client("events"), topology.client()] {
        let lease = client.lease().lease_time_to_live(request).await.expect("the time to live").into_inner();
        assert!(lease.ttl > 3_600 - 120 && lease.ttl <= lease.granted_ttl, "{lease:?}");
        assert!(lease.keys.contains(&key.clone().into()), "the lease {} does not name {key}", lease.id);
    }
}

/// An API server that finds its own Service before the record of the Service's address says so in an event.
fn is_the_servers_own(event: &str) -> bool {
    event.starts_with("kubernetes.")
}

async fn page_by_page(server: &ApiServer) {
    for kind in Kind::ALL {
        let (mut names, _) = pages(&server.api(), kind, 3).await.expect("a list by pages");
        names.retain(|name| !is_the_servers_own(name));
        assert_eq!(names, NAMES, "{}", kind.resource());
        let listed = server.kubectl().run(&["get", kind.resource(), "--chunk-size=3", "--output=name"]).await;
        let listed = listed.lines().map(|line| line.rsplit('/').next().unwrap_or_default());
        let listed: Vec<_> = listed.filter(|name| !is_the_servers_own(name)).collect();
        assert_eq!(listed, NAMES, "{} by kubectl", kind.resource());
    }
}

/// Every update of an object must reach an informer, and `kubectl get --watch`.
async fn patch_under_watch(server: &ApiServer) {
    const LAST: u64 = 5;
    let api = server.api();
    let informers = site::informers(&api).await;
    let path = format!("jsonpath={{.metadata.annotations.{}}}{{\"\\n\"}}", NUMBER.replace('.', "\\."));
    let watch = ["get", "pods", "a", "--watch", "--output", &path];
    let kubectl = server.kubectl().spawn("kubectl-watch", &watch);
    let lines = || std::fs::read_to_string(kubectl.log()).expect("output of kubectl");
    wait::until("kubectl to watch", async || if lines() == "0\n" { Ok(()) } else { Err(lines()) }).await;
    for kind in Kind::ALL {
        let patch = numbered(1).to_string();
        let patch = ["patch", kind.resource(), "a", "--type=merge", "--patch", &patch];
        server.kubectl().run(&patch).await;
        for number in 2..=LAST {
            api.patch(&kind.path("a"), Patch::Merge, &numbered(number)).await.expect("a patch");
        }
    }
    for informer in &informers {
        informer.wait_for("a", LAST).await;
        informer.assert_gapless();
    }
    let all: String = (0..=LAST).map(|number| format!("{number}\n")).collect();
    wait::until("kubectl to see all", async || if lines() == all { Ok(()) } else { Err(lines()) }).await;
}

async fn apply_and_delete(topology: &Topology, server: &ApiServer) {
    let mut objects = all_objects();
    for object in &mut objects {
        object["metadata"]["labels"]["applied"] = "yes".into();
    }
    let kubectl = server.kubectl();
    kubectl.run_on(&["apply", "--server-side", "--force-conflicts"], &objects).await;
    for kind in Kind::ALL {
        let api = server.api();
        let object =
            api.get(&format!("{}?labelSelector=applied%3Dyes", kind.collection())).await.expect("a list");
        let found = etcd_prism_tests::kube::objects::items(&object).len();
        assert_eq!(found, NAMES.len(), "{} that were applied", kind.resource());
    }
    kubectl.run_on(&["delete", "--wait=true"], &objects).await;
    let contents = Contents::read(topology).await;
    for kind in Kind::ALL {
        for name in NAMES {
            assert!(
                contents.shards_with(&kind.key(name)).is_empty(),
                "{} {name} is still there",
                kind.resource()
            );
        }
    }
}

async fn every_shard_is_compacted(
    topology: &Topology,
    server: &ApiServer,
    before: &std::collections::BTreeMap<&'static str, i64>,
) {
    let mut load = Load::new(Duration::from_millis(500));
    load.numbered_updates(&server.api(), "counter").await.expect("objects to update");
    let compacted = site::compacted_beyond(topology, before, Duration::from_secs(120)).await;
    let tally = load.stop().await;
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    println!("{}: compacted revisions {compacted:?}", server.minor());
    // Home is compacted at the API server's own number, the others at numbers of their own.
    let home = topology.shard_client("rest");
    let mark = home.kv().range(get("compact_rev_key")).await.expect("compact_rev_key").into_inner();
    let mark: i64 = String::from_utf8_lossy(&mark.kvs[0].value).parse().expect("a revision");
    let present = site::revisions(topology).await["rest"];
    assert_eq!(
        compacted_revision(&home, present).await,
        mark,
        "home is compacted where compact_rev_key says"
    );
}
