//! member list, endpoint status and health, alarm list, check perf, and what is refused.

use serde_json::Value;

use crate::topology;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn members_are_the_proxies() {
    let (topology, etcdctl) = topology().await;
    let list = json(&etcdctl.run(&["member", "list", "--write-out=json"]).await);
    let members = list["members"].as_array().expect("members");
    assert_eq!(members.len(), 1, "{list}");
    assert_eq!(members[0]["clientURLs"], serde_json::json!([topology.proxy.endpoint()]));
    assert!(members[0]["name"].as_str().is_some_and(|name| !name.is_empty()), "{list}");
    // --cluster goes to what MemberList names, which is the proxy again.
    let health = etcdctl.run(&["endpoint", "health", "--cluster", "--write-out=json"]).await;
    assert_eq!(json(&health)[0]["endpoint"], topology.proxy.endpoint());
}

#[tokio::test]
async fn status_and_health_are_those_of_a_working_cluster() {
    let (_topology, etcdctl) = topology().await;
    let status = json(&etcdctl.run(&["endpoint", "status", "--write-out=json"]).await);
    let status = &status[0]["Status"];
    assert!(status["version"].as_str().is_some_and(|version| version.starts_with("3.")), "{status}");
    let leader = &status["leader"];
    assert!(leader.as_u64().is_some_and(|leader| leader != 0), "{status}");
    assert_eq!(*leader, status["header"]["member_id"]);
    assert!(status["dbSize"].as_u64().is_some_and(|size| size > 0), "{status}");
    let list = json(&etcdctl.run(&["member", "list", "--write-out=json"]).await);
    assert_eq!(list["members"][0]["ID"], *leader);
    let health = json(&etcdctl.run(&["endpoint", "health", "--write-out=json"]).await);
    assert_eq!(health[0]["health"], true, "{health}");
    assert_eq!(etcdctl.run(&["alarm", "list"]).await, "");
}

#[tokio::test]
async fn what_belongs_to_one_shard_is_refused_with_a_reason() {
    let (topology, etcdctl) = topology().await;
    let file = topology.scratch.path().join("snapshot.db");
    let file = file.to_str().expect("a path in UTF-8");
    for command in
        [&["defrag"][..], &["snapshot", "save", file], &["member", "remove", "1"], &["auth", "enable"]]
    {
        let refusal = etcdctl.refused(command).await;
        assert!(refusal.contains("etcd-prism"), "etcdctl {command:?}: {refusal}");
    }
}

/// Takes a minute, which etcdctl gives no way to shorten. Its throughput is for benches to judge.
#[tokio::test]
async fn check_perf_runs_to_its_end_without_errors() {
    let (_topology, etcdctl) = topology().await;
    let printed = etcdctl.try_run(&["check", "perf", "--load=s"], "").await;
    assert!(
        printed.stdout.contains("writes/s") && !printed.stdout.contains("too many errors"),
        "{printed:?}"
    );
    assert!(!printed.stdout.contains("Cleanup failed"), "{printed:?}");
    assert_eq!(etcdctl.run(&["get", "--prefix", "/etcdctl-check-perf/", "--keys-only"]).await, "");
}
