//! put, get, del, txn, watch, compaction.

use etcd_prism_tests::etcdctl::Etcdctl;

use crate::{KEYS, topology};

async fn fill(etcdctl: &Etcdctl) {
    for (index, key) in KEYS.iter().enumerate() {
        assert_eq!(etcdctl.run(&["put", key, &format!("value {index}")]).await, "OK");
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

#[tokio::test]
async fn put_get_and_del() {
    let (topology, etcdctl) = topology().await;
    fill(&etcdctl).await;
    for (index, key) in KEYS.iter().enumerate() {
        assert_eq!(lines(&etcdctl.run(&["get", key]).await), [*key, &format!("value {index}")]);
        // On its own shard, and on no other.
        for (shard, cluster) in &topology.shards {
            let direct = Etcdctl::new(&cluster.endpoints()[0], &topology.scratch);
            let found = !direct.run(&["get", key]).await.is_empty();
            assert_eq!(
                found,
                *shard == topology.layout.shard_of(topology.layout.route_of(key.as_bytes())),
                "{key} on {shard}"
            );
        }
    }
    assert_eq!(etcdctl.run(&["put", KEYS[3], "new", "--prev-kv"]).await, format!("OK\n{}\nvalue 3", KEYS[3]));
    assert_eq!(etcdctl.run(&["get", KEYS[3], "--print-value-only"]).await, "new");
    assert_eq!(etcdctl.run(&["del", KEYS[3]]).await, "1");
    assert_eq!(etcdctl.run(&["get", KEYS[3]]).await, "");
    assert_eq!(etcdctl.run(&["put", "/registry/pods/b", "b"]).await, "OK");
    assert_eq!(
        etcdctl.run(&["del", "--prefix", "/registry/pods/", "--prev-kv"]).await,
        "1\n/registry/pods/b\nb"
    );
}

#[tokio::test]
async fn get_of_everything_is_in_key_order() {
    let (_topology, etcdctl) = topology().await;
    fill(&etcdctl).await;
    let keys = |text: String| lines(&text).iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(keys(etcdctl.run(&["get", "--prefix", "", "--keys-only"]).await), KEYS);
    assert_eq!(keys(etcdctl.run(&["get", "--prefix", "", "--keys-only", "--limit=3"]).await), KEYS[..3]);
    assert_eq!(keys(etcdctl.run(&["get", "--from-key", KEYS[1], "--keys-only"]).await), KEYS[1..]);
    let mut descending = KEYS;
    descending.reverse();
    assert_eq!(
        keys(etcdctl.run(&["get", "--prefix", "", "--keys-only", "--order=DESCEND"]).await),
        descending
    );
    let count = etcdctl.run(&["get", "--prefix", "", "--count-only", "--write-out=fields"]).await;
    assert!(count.contains("\"Count\" : 4"), "{count}");
    let all = etcdctl.run(&["get", "--prefix", ""]).await;
    assert_eq!(lines(&all).len(), 2 * KEYS.len());
    // Never half done: it is refused as a whole.
    let refusal = etcdctl.refused(&["del", "--prefix", "/registry/"]).await;
    assert!(["events", "leases", "pods", "rest"].iter().all(|route| refusal.contains(route)), "{refusal}");
    assert_eq!(keys(etcdctl.run(&["get", "--prefix", "", "--keys-only"]).await), KEYS);
}

#[tokio::test]
async fn txn_takes_both_branches() {
    let (_topology, etcdctl) = topology().await;
    let input = "mod(\"/registry/pods/a\") = \"0\"\n\nput /registry/pods/a first\n\nget /registry/pods/a\n\n";
    let created = etcdctl.run_with(&["txn"], input).await;
    assert!(created.starts_with("SUCCESS") && created.ends_with("OK"), "{created}");
    let found = etcdctl.run_with(&["txn"], input).await;
    assert!(found.starts_with("FAILURE") && found.ends_with("/registry/pods/a\nfirst"), "{found}");
    let spanning = "\nput /registry/pods/b 1\nput /registry/events/b 1\n\n\n";
    let refusal = etcdctl.try_run(&["txn"], spanning).await;
    assert!(
        !refusal.success && refusal.stderr.contains("pods") && refusal.stderr.contains("events"),
        "{refusal:?}"
    );
    assert_eq!(etcdctl.run(&["get", "--prefix", "/registry/events/"]).await, "");
}

#[tokio::test]
async fn watch_shows_changes_of_one_route_and_of_all() {
    let (_topology, etcdctl) = topology().await;
    fill(&etcdctl).await;
    let one = etcdctl.start(&["watch", "--prefix", "/registry/pods/", "--prev-kv"]);
    let all = etcdctl.start(&["watch", "--prefix", ""]);
    // A watch has no sign that it is set up but its first event.
    for (watch, key) in [(&one, "/registry/pods/ready"), (&all, "/registry/events/ready")] {
        etcd_prism_tests::wait::until("the watch to begin", async || {
            etcdctl.run(&["put", key, "now"]).await;
            if watch.printed().contains(key) { Ok(()) } else { Err(watch.printed()) }
        })
        .await;
    }
    etcdctl.run(&["put", KEYS[3], "changed"]).await;
    etcdctl.run(&["put", KEYS[0], "changed"]).await;
    etcdctl.run(&["del", KEYS[3]]).await;
    let end = format!("DELETE\n{}\n", KEYS[3]);
    let printed = one.wait_for("the delete", |text| text.contains(&end)).await;
    assert!(printed.contains(&format!("PUT\n{0}\nvalue 3\n{0}\nchanged\n", KEYS[3])), "{printed}");
    assert!(!printed.contains(KEYS[0]), "{printed}");
    let printed = all.wait_for("the delete", |text| text.contains(&end)).await;
    assert!(printed.contains(&format!("PUT\n{}\nchanged\n", KEYS[0])), "{printed}");
}

#[tokio::test]
async fn watch_from_a_revision_shows_history() {
    let (_topology, etcdctl) = topology().await;
    fill(&etcdctl).await;
    let history = etcdctl.start(&["watch", "--rev=1", "--prefix", "/registry/pods/"]);
    history.wait_for("the first put", |text| text == format!("PUT\n{}\nvalue 3\n", KEYS[3])).await;
}

#[tokio::test]
async fn compaction_hides_old_revisions() {
    let (_topology, etcdctl) = topology().await;
    let revision = async |etcdctl: &Etcdctl| {
        let text = etcdctl.run(&["get", KEYS[0], "--write-out=json"]).await;
        let reply: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        reply["header"]["revision"].as_i64().expect("a revision").to_string()
    };
    etcdctl.run(&["put", KEYS[0], "old"]).await;
    let old = revision(&etcdctl).await;
    etcdctl.run(&["put", KEYS[0], "new"]).await;
    let new = revision(&etcdctl).await;
    assert_eq!(etcdctl.run(&["get", KEYS[0], "--rev", &old, "--print-value-only"]).await, "old");
    assert_eq!(etcdctl.run(&["compaction", &new]).await, format!("compacted revision {new}"));
    let refusal = etcdctl.refused(&["get", KEYS[0], "--rev", &old]).await;
    assert!(refusal.contains("etcdserver: mvcc: required revision has been compacted"), "{refusal}");
    let again = etcdctl.refused(&["compaction", &new]).await;
    assert!(again.contains("etcdserver: mvcc: required revision has been compacted"), "{again}");
}
