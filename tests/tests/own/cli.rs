//! The commands, as an operator runs them.

use std::path::PathBuf;
use std::process::Stdio;

use etcd_prism_tests::tools;
use serde_json::Value;
use tokio::process::Command;

use crate::apply::SPLIT;
use crate::rig::{Rig, Routes, TWO};

/// A configuration file.
fn file(rig: &Rig, name: &str, routes: Routes<'_>) -> PathBuf {
    let path = rig.scratch.path().join(name);
    std::fs::write(&path, rig.text(routes)).expect("a file");
    path
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn prism(args: &[&str], file: &PathBuf) -> Ran {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(tools::etcd_prism()).args(args);
    command.arg("--config").arg(file).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.expect("etcd-prism");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

#[tokio::test]
async fn an_operator_changes_routes() {
    let rig = Rig::start(&["a", "b"]).await;
    let (two, split) = (file(&rig, "two.toml", TWO), file(&rig, "split.toml", SPLIT));
    // Before any proxy.
    let ran = prism(&["route", "list"], &two).await;
    assert!(ran.code == Some(0) && ran.out.contains("waiting"), "{}{}", ran.out, ran.err);
    let ran = prism(&["route", "diff"], &two).await;
    assert!(ran.code == Some(1) && ran.out.contains("no table yet"), "{}{}", ran.out, ran.err);
    let ran = prism(&["route", "apply", "--yes"], &two).await;
    assert!(ran.code == Some(1) && ran.err.contains("start a proxy"), "{}{}", ran.out, ran.err);

    let node = rig.node(TWO);
    node.until_served().await;
    let ran = prism(&["route", "list", "--output=json"], &two).await;
    let list: Value = serde_json::from_str(&ran.out).expect("JSON");
    let shown = |i: usize| {
        let route = &list["routes"][i];
        (route["name"].as_str(), route["state"].as_str(), route["shard"].as_str(), route["epoch"].as_i64())
    };
    let epoch = |route| Some(node.route(route).epoch);
    assert_eq!(shown(0), (Some("pods"), Some("served"), Some("a"), epoch("pods")));
    assert_eq!(shown(1), (Some("rest"), Some("served"), Some("b"), epoch("rest")));
    let ran = prism(&["route", "diff"], &two).await;
    assert!(ran.code == Some(0) && ran.out.contains("say the same"), "{}{}", ran.out, ran.err);
    let ran = prism(&["fence", "show", "pods", "--output=json"], &two).await;
    let fences: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(fences.as_array().map(Vec::len), Some(1));
    assert_eq!((fences[0]["state"].as_str(), fences[0]["epoch"].as_i64()), (Some("open"), epoch("pods")));

    // The new file.
    let ran = prism(&["route", "diff"], &split).await;
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    for line in [
        "+ route nodes on b",
        "~ route rest on b: owns other keys",
        "[/nodes/, /nodes0): rest on b → nodes on b",
    ] {
        assert!(ran.out.contains(line), "no {line:?} in\n{}", ran.out);
    }
    let ran = prism(&["route", "list"], &split).await;
    assert!(ran.out.contains("refused") && ran.out.contains("route apply"), "{}", ran.out);
    let before = rig.read("b").await.snapshot;
    let ran = prism(&["route", "apply", "--dry-run"], &split).await;
    assert!(ran.code == Some(0) && ran.out.contains("nothing speaks against it"), "{}{}", ran.out, ran.err);
    let ran = prism(&["route", "apply"], &split).await;
    assert!(ran.code == Some(1) && ran.err.contains("--yes"), "{}{}", ran.out, ran.err);
    assert_eq!(rig.read("b").await.snapshot, before, "nothing was written yet");
    let ran = prism(&["route", "apply", "--yes", "--max-pause=20s"], &split).await;
    assert!(ran.code == Some(0) && ran.out.contains("done: generation 2"), "{}{}", ran.out, ran.err);
    let ran = prism(&["route", "diff"], &split).await;
    assert_eq!(ran.code, Some(0), "{}", ran.out);
    let ran = prism(&["fence", "show"], &split).await;
    assert!(ran.out.lines().filter(|line| line.contains(" open ")).count() == 3, "{}", ran.out);
    let ran = prism(&["route", "abort"], &split).await;
    assert!(ran.code == Some(0) && ran.out.contains("no change is under way"), "{}{}", ran.out, ran.err);
}

#[tokio::test]
async fn an_operator_accepts_a_shard() {
    let rig = Rig::start(&["a", "b"]).await;
    let node = rig.node(TWO);
    node.until_served().await;
    let two = file(&rig, "two.toml", TWO);
    let ran = prism(&["shard", "accept", "c", "--yes"], &two).await;
    assert!(ran.code == Some(1) && ran.err.contains("no shard called c"), "{}", ran.err);
    let ran = prism(&["shard", "accept", "a"], &two).await;
    assert!(ran.code == Some(1) && ran.err.contains("--yes"), "{}", ran.err);
    let before = rig.read("a").await.live.id;
    let ran = prism(&["shard", "accept", "a", "--yes"], &two).await;
    assert!(ran.code == Some(0) && ran.out.contains("fence rewritten"), "{}{}", ran.out, ran.err);
    assert_ne!(rig.read("a").await.live.id, before);
    node.until("the new identity", |s| s.shards[0].table_generation == 2).await;
    node.until_served().await;
}
