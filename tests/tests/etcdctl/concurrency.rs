//! lease, lock, elect.

use etcd_prism_tests::process::Signal;

use crate::{KEYS, topology};

#[tokio::test]
async fn leases_live_and_end_on_every_shard() {
    let (_topology, etcdctl) = topology().await;
    let granted = etcdctl.run(&["lease", "grant", "600"]).await;
    let id = granted.split_whitespace().nth(1).expect("an id").to_owned();
    assert_eq!(granted, format!("lease {id} granted with TTL(600s)"));
    for key in KEYS {
        etcdctl.run(&["put", key, "leased", "--lease", &id]).await;
    }
    let shown = etcdctl.run(&["lease", "timetolive", &id, "--keys"]).await;
    assert!(shown.starts_with(&format!("lease {id} granted with TTL(600s), remaining(")), "{shown}");
    assert!(KEYS.iter().all(|key| shown.contains(key)), "{shown}");
    assert_eq!(etcdctl.run(&["lease", "list"]).await, format!("found 1 leases\n{id}"));
    assert_eq!(
        etcdctl.run(&["lease", "keep-alive", "--once", &id]).await,
        format!("lease {id} keepalived with TTL(600)")
    );
    let keeper = etcdctl.start(&["lease", "keep-alive", &id]);
    keeper.wait_for("a renewal", |text| text.contains(&format!("lease {id} keepalived with TTL(600)"))).await;
    assert_eq!(etcdctl.run(&["lease", "revoke", &id]).await, format!("lease {id} revoked"));
    assert_eq!(etcdctl.run(&["get", "--prefix", ""]).await, "");
    assert_eq!(etcdctl.run(&["lease", "list"]).await, "found 0 leases");
    assert_eq!(etcdctl.run(&["lease", "timetolive", &id]).await, format!("lease {id} already expired"));
    let refusal = etcdctl.refused(&["lease", "revoke", &id]).await;
    assert!(refusal.contains("etcdserver: requested lease not found"), "{refusal}");
}

#[tokio::test]
async fn lock_excludes_and_hands_over() {
    let (_topology, etcdctl) = topology().await;
    // A name on each of two shards.
    for name in ["/registry/pods/lock", "a-lock"] {
        let mut first = etcdctl.start(&["lock", name]);
        let own = first.wait_for("its key", |text| text.starts_with(name) && text.ends_with('\n')).await;
        let second = etcdctl.start(&["lock", name]);
        let waiting = || async {
            let text = etcdctl.run(&["get", "--prefix", name, "--keys-only"]).await;
            let keys = text.lines().filter(|line| !line.is_empty()).count();
            if keys == 2 { Ok(()) } else { Err(text) }
        };
        etcd_prism_tests::wait::until("two keys of the lock", async || waiting().await).await;
        assert_eq!(second.printed(), "", "both hold the lock");
        first.process.signal(Signal::INT);
        let other = second.wait_for("its key", |text| text.starts_with(name) && text.ends_with('\n')).await;
        assert_ne!(own, other);
    }
    assert_eq!(etcdctl.run(&["lock", "a-command", "echo", "held"]).await, "held");
}

#[tokio::test]
async fn elect_shows_the_leader_and_its_successor() {
    let (_topology, etcdctl) = topology().await;
    for name in ["/registry/events/election", "an-election"] {
        let mut first = etcdctl.start(&["elect", name, "one"]);
        first.wait_for("its proposal", |text| text.ends_with("\none\n")).await;
        let observer = etcdctl.start(&["elect", "--listen", name]);
        observer.wait_for("the leader", |text| text.ends_with("\none\n")).await;
        let second = etcdctl.start(&["elect", name, "two"]);
        first.process.signal(Signal::INT);
        second.wait_for("its proposal", |text| text.ends_with("\ntwo\n")).await;
        observer.wait_for("the successor", |text| text.ends_with("\ntwo\n")).await;
    }
}
