//! Changes of routes.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_config::Config;
use etcd_prism_control::{Applied, ApplyError, ApplyOptions, Progress, RouteState, abort, apply};
use etcd_prism_ownership::State;
use etcd_prism_ownership::id::ProxyId;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{PROTOCOL, Session, Stored};
use etcd_prism_tests::request::{delete, put};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::rig::{Node, Rig, Routes, TWO, site, specs};

pub fn options() -> ApplyOptions {
    ApplyOptions {
        max_pause: Duration::from_secs(20),
        lower_revisions: false,
        interrupt: CancellationToken::new(),
    }
}

async fn run(config: &Config) -> Result<Applied, ApplyError> {
    apply(&site(config), &specs(config), &options(), &mut |_| {}).await
}

/// `rest` gives `/nodes/` away, on the same shard.
pub const SPLIT: Routes<'static> =
    &[("pods", &["/pods/"], "a"), ("nodes", &["/nodes/"], "b"), ("rest", &[], "b")];
/// The same, on another shard.
pub const MOVED: Routes<'static> =
    &[("pods", &["/pods/"], "a"), ("nodes", &["/nodes/"], "a"), ("rest", &[], "b")];

#[tokio::test]
async fn a_route_is_split_off_on_its_shard() {
    let rig = Rig::start(&["a", "b"]).await;
    let old = rig.node(TWO);
    old.until_served().await;
    rig.client("b").kv().put(put("/nodes/x", "1")).await.expect("a write");
    let config = rig.config(SPLIT);
    let new = Node::start(&config);
    let reason = new.refused("rest").await;
    assert!(reason.contains("route apply"), "{reason}");
    let applied = run(&config).await.expect("a change");
    assert_eq!(applied.generation, 2);
    assert!(applied.paused.is_some());
    new.until_served().await;
    assert_eq!(new.route("nodes").shard.as_deref(), Some("b"));
    // Whoever still has the old table stops, where it differs.
    let reason = old.refused("rest").await;
    assert!(reason.contains("route apply"), "{reason}");
    assert_eq!(old.route("pods").state, RouteState::Served);
    // Again: nothing is left to do, and nothing is written.
    let before = rig.read("b").await;
    assert_eq!(run(&config).await.expect("nothing"), Applied { generation: 2, paused: None });
    assert_eq!(rig.read("b").await.snapshot, before.snapshot);
}

#[tokio::test]
async fn an_empty_route_moves_and_one_with_keys_does_not() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    // Shard a is ahead, so that nobody sees revisions fall.
    for i in 0..100 {
        rig.client("a").kv().put(put("/pods/x", &i.to_string())).await.expect("a write");
    }
    rig.client("b").kv().put(put("/nodes/x", "1")).await.expect("a write");
    let config = rig.config(MOVED);
    let error = run(&config).await.expect_err("a refusal").to_string();
    assert!(error.contains("shard b holds keys") && error.contains("/nodes/x"), "{error}");
    node.until_served().await;
    rig.client("b").kv().delete_range(delete("/nodes/x")).await.expect("a deletion");
    run(&config).await.expect("a change");
    let new = Node::start(&config);
    new.until_served().await;
    assert_eq!(new.route("nodes").shard.as_deref(), Some("a"));
    let (_, fence) = rig.fence("a", "nodes").await.expect("a fence");
    assert_eq!((fence.n, fence.state), (1, State::Open { peer: None }));
    // Back: it was on a before, so its second reign begins, and b's fence of rest gets the keys back.
    let error = run(&rig.config(TWO)).await.expect_err("b is behind a").to_string();
    assert!(error.contains("--lower-revisions"), "{error}");
    new.until_served().await;
}

/// A session of a proxy that never answers.
async fn haunt(rig: &Rig, shard: &str) -> Vec<u8> {
    let session = Session {
        protocol: PROTOCOL,
        name: "ghost".to_owned(),
        address: String::new(),
        started: 0,
        acks: Default::default(),
        revisions: Default::default(),
    };
    let key = keys::session(ProxyId(1));
    rig.client(shard).kv().put(put(&key, &session.encode().expect("a value"))).await.expect("a session");
    key
}

#[tokio::test]
async fn ce04_a_change_waits_for_every_session_and_gives_up_in_time() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let ghost = haunt(&rig, "b").await;
    let config = rig.config(SPLIT);
    let hurried = ApplyOptions { max_pause: Duration::from_secs(1), ..options() };
    let mut waited = false;
    let mut report = |progress| waited |= progress == Progress::Waiting(vec!["ghost".to_owned()]);
    let error = apply(&site(&config), &specs(&config), &hurried, &mut report).await.expect_err("too long");
    assert!(matches!(&error, ApplyError::Stopped(_)) && error.to_string().contains("--max-pause"), "{error}");
    assert!(waited);
    // Everything is as before.
    node.until_served().await;
    assert!(rig.fence("b", "nodes").await.is_none_or(|(_, fence)| fence.state == State::Retired));
    // Once the session is gone the change goes through.
    rig.client("b").kv().delete_range(delete(&ghost)).await.expect("an end");
    run(&config).await.expect("a change");
}

#[tokio::test]
async fn an_interrupted_change_leaves_everything_as_before() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    haunt(&rig, "b").await;
    let config = rig.config(SPLIT);
    let options = options();
    let interrupt = options.interrupt.clone();
    let mut report = |progress| {
        if matches!(progress, Progress::Waiting(_)) {
            interrupt.cancel();
        }
    };
    let error =
        apply(&site(&config), &specs(&config), &options, &mut report).await.expect_err("an interruption");
    assert!(error.to_string().contains("interrupted"), "{error}");
    node.until_served().await;
}

/// Runs a change and drops it in the middle of its `n`th step. Whether it came to an end before.
async fn killed_at(config: &Config, n: usize) -> bool {
    let kill = Arc::new(Notify::new());
    let options = ApplyOptions { lower_revisions: true, ..options() };
    let (site, specs) = (site(config), specs(config));
    let mut steps = 0;
    let mut report = {
        let kill = kill.clone();
        move |_| {
            steps += 1;
            if steps == n {
                kill.notify_one();
            }
        }
    };
    tokio::select! {
        applied = apply(&site, &specs, &options, &mut report) => {
            applied.expect("a change");
            true
        }
        // Its last request may have been sent: nobody hears the answer.
        () = kill.notified() => false,
    }
}

/// At every step: run again, the change is finished; or ended by `route abort`, everything is as before, unless it was
/// committed.
#[tokio::test]
async fn a_change_killed_at_any_step_is_finished_or_ended_by_the_next() {
    let rig = Rig::start(&["a", "b"]).await;
    let (old, new) = (rig.config(TWO), rig.config(MOVED));
    let node = Node::start(&old);
    node.until_served().await;
    drop(node);
    let (mut n, mut ended) = (1, [false, false]);
    while ended != [true, true] {
        assert!(n < 40, "a change of so many steps");
        for (at, config) in [(0, &new), (1, &old)] {
            let done = killed_at(config, n).await;
            ended[at] |= done;
            if !done && n % 2 == 0 {
                let end = abort(&site(config), &options(), &mut |_| {}).await;
                assert!(matches!(&end, Err(ApplyError::Stopped(_))), "{end:?}");
            }
            assert!(killed_at(config, usize::MAX).await);
            let node = Node::start(config);
            node.until("every route", |s| s.not_served().next().is_none()).await;
            one_owner_each(&rig).await;
            // The next change need not wait for the session to expire.
            node.own.close().await;
        }
        n += 1;
    }
    assert!(n > 5, "only {n} steps");
}

async fn one_owner_each(rig: &Rig) {
    let (a, b) = (rig.read("a").await.snapshot.fences, rig.read("b").await.snapshot.fences);
    let open = |route: &str| {
        [&a, &b]
            .iter()
            .filter_map(|f| f.get(route))
            .filter(|(_, f)| f.as_ref().is_ok_and(|f| f.state.is_open()))
            .count()
    };
    assert_eq!((open("pods"), open("rest")), (1, 1));
    assert!(open("nodes") <= 1);
}
