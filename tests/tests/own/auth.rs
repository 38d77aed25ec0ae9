//! Shards with authentication.

use std::fs;
use std::time::Duration;

use etcd_prism_config::Config;
use etcd_prism_control::{OwnershipSnapshot, RouteState};
use etcd_prism_tests::auth::protect;
use etcd_prism_tests::etcdctl::Etcdctl;
use tokio::time::{Instant, timeout_at};

use crate::rig::{Node, Rig, TWO};

/// A user with everything that clients may have, and nothing else yet.
const PRISM: &[(&str, &[&str])] = &[("prism", &["keys"])];

/// A configuration in which the proxy is `prism` on shard a.
fn as_prism(rig: &Rig) -> Config {
    let mut config = rig.config(TWO);
    let file = rig.scratch.path().join("password");
    fs::write(&file, "secret\n").expect("a password file");
    config.shards[0].username = Some("prism".to_owned());
    config.shards[0].password_file = Some(file);
    config
}

#[tokio::test]
async fn ce21_a_user_that_may_only_look_at_the_fences_runs_unfenced_all_the_time() {
    let mut rig = Rig::start(&["a", "b"]).await;
    protect(&rig.client("a"), PRISM).await;
    let root = Etcdctl::new(rig.client("a").endpoint(), &rig.scratch);
    root.run(&["--user=root:secret", "user", "grant-role", "prism", "looks"]).await;
    let node = Node::start(&as_prism(&rig));
    let unfenced = |s: &OwnershipSnapshot| s.routes.iter().all(|r| r.state == RouteState::Unfenced);
    node.until("the denial", |s| s.shards[0].denied && unfenced(s)).await;
    let before = node.snapshot().routes;
    let mut changes = node.own.subscribe();
    // Meanwhile the shard is read every two seconds, because its routes have no fences, and each time it answers.
    let end = Instant::now() + Duration::from_secs(7);
    while let Ok(changed) = timeout_at(end, changes.changed()).await {
        changed.expect("a proxy that runs");
        assert_eq!(node.snapshot().routes, before);
    }
    // A shard that is down is not one that has given rights.
    rig.shard("a").kill();
    node.until("the loss", |s| s.shards[0].error.is_some()).await;
    assert_eq!(node.snapshot().routes, before);
}

#[tokio::test]
async fn ce21_a_user_without_rights_on_the_fences_runs_unfenced_and_says_so() {
    let rig = Rig::start(&["a", "b"]).await;
    protect(&rig.client("a"), PRISM).await;
    let node = Node::start(&as_prism(&rig));
    node.until("the denial", |s| s.shards[0].denied && s.routes[0].state == RouteState::Unfenced).await;
    let (pods, a) = (node.id("pods"), node.shard("a"));
    let view = node.own.route(pods).clone();
    assert!(view.unfenced && view.permit().is_some_and(|p| p.shard == a && p.epoch == 0));
    assert!(node.own.may_release(pods, view.generation, a), "reads need no session then");
    // With the rights, the route gets its fence, and nothing of before is taken for fenced.
    let root = Etcdctl::new(rig.client("a").endpoint(), &rig.scratch);
    root.run(&["--user=root:secret", "user", "grant-role", "prism", "fences"]).await;
    node.until_served().await;
    let now = node.own.route(pods).clone();
    assert!(!now.unfenced && now.generation > view.generation);
    assert!(!node.own.may_release(pods, view.generation, a));
    // A proxy that has seen a fence never goes without one, whatever happens to its rights.
    root.run(&["--user=root:secret", "user", "revoke-role", "prism", "fences"]).await;
    node.until("the denial", |s| s.shards[0].denied).await;
    assert!(!node.own.route(pods).unfenced);
}
