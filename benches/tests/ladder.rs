//! The ladder end to end, on a real etcd: short rounds, every kind of work.

// A helper that cannot go on fails the test it serves.
#![allow(clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const WORKS: [&str; 6] = ["txn-create-256", "txn-update-256", "put-256", "range", "list", "watch"];
const RUNGS: [&str; 3] = ["direct", "splice", "forward"];
const CLIENTS: [u64; 2] = [1, 5];

/// `ETCD_PRISM_ETCD` names another etcd than the pinned one.
fn etcd() -> PathBuf {
    if let Some(path) = std::env::var_os("ETCD_PRISM_ETCD") {
        return path.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tool");
    let output =
        Command::new(&script).arg("etcd").stderr(Stdio::inherit()).output().expect("run scripts/tool");
    assert!(output.status.success(), "scripts/tool etcd: {}", output.status);
    String::from_utf8(output.stdout).expect("a path").trim().into()
}

/// Runs the ladder with its files in `folder`, and returns what it wrote.
fn ladder(folder: &Path, arguments: &[&str]) -> Value {
    let _turn = TURN.lock();
    let report = folder.join("report.json");
    let data = folder.join("data");
    std::fs::create_dir(&data).expect("a folder for data");
    let output = Command::new(env!("CARGO_BIN_EXE_etcd-prism-bench"))
        .args(["ladder", "--rounds", "1", "--warmup", "0.1", "--etcd"])
        .arg(etcd())
        .arg("--data-dir")
        .arg(&data)
        .arg("--json")
        .arg(&report)
        .args(arguments)
        .output()
        .expect("run the ladder");
    let [out, log] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}\n{log}\n{out}", output.status);
    assert!(out.contains("### Targets"), "{out}");
    let left: Vec<_> =
        std::fs::read_dir(&data).expect("the folder").flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    serde_json::from_slice(&std::fs::read(&report).expect("a report")).expect("JSON")
}

/// One at a time: what they measure is the machine.
static TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

/// Of the rung `rung` with `work` and that many clients.
fn sample<'a>(report: &'a Value, work: &str, clients: u64, rung: &str) -> &'a Value {
    let figures = report["figures"].as_array().expect("figures");
    let is_it = |row: &&Value| row["work"] == work && row["rung"] == rung && row["clients"] == clients;
    let row =
        figures.iter().find(is_it).unwrap_or_else(|| panic!("{work} with {clients} on {rung}: {report:#}"));
    assert!(row["failures"].as_array().is_some_and(Vec::is_empty), "{row:#}");
    &row["samples"][0]
}

#[test]
fn every_work_is_measured_on_every_rung() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = ladder(
        folder.path(),
        &["--seconds", "0.2", "--clients", "1,5", "--works", &WORKS.join(","), "--rungs", &RUNGS.join(",")],
    );
    for work in WORKS {
        let clients: &[u64] = match work {
            "list" => &[4],
            "watch" => &[100],
            _ => &CLIENTS,
        };
        for &clients in clients {
            for rung in RUNGS {
                let sample = sample(&report, work, clients, rung);
                assert!(
                    sample["things"].as_u64().is_some_and(|things| things > 0),
                    "{work} on {rung}: {sample:#}"
                );
                assert_eq!(sample["conflicts"], 0, "{work} on {rung}: {sample:#}");
                assert_eq!(sample["proxy_cpu"].is_null(), rung == "direct", "{work} on {rung}: {sample:#}");
            }
        }
    }
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments =
        ["--rate", "200", "--seconds", "1", "--clients", "4", "--works", "range", "--rungs", "direct"];
    let report = ladder(folder.path(), &arguments);
    let things = sample(&report, "range", 4, "direct")["things"].as_u64().expect("a number");
    // A client that fell behind during warm-up catches up, so a few more are possible; many more are not.
    assert!((50..=260).contains(&things), "{things} requests in a second");
}

/// With the etcd-prism beside the ladder: `cargo build --workspace --bins` makes both.
#[test]
fn a_route_that_moves_is_measured_in_every_state() {
    let folder = tempfile::tempdir().expect("a folder");
    // No list: on a busy machine a debug build does not finish one in a second.
    let works = ["txn-update-256", "range"];
    let arguments = ["--moves", "--seconds", "1", "--clients", "2", "--works", &works.join(",")];
    let report = ladder(folder.path(), &arguments);
    for work in works {
        for rung in ["unmoved", "copying", "followed", "switched", "completed"] {
            let sample = sample(&report, work, 2, rung);
            assert!(sample["things"].as_u64().is_some_and(|things| things > 0), "{work}, {rung}: {sample:#}");
            assert_eq!(sample["conflicts"], 0, "{work}, {rung}: {sample:#}");
        }
    }
    let targets = report["targets"].as_array().expect("targets");
    let translated = targets.iter().filter(|target| {
        target["measure"]
            .as_str()
            .is_some_and(|measure| measure.starts_with("translated route: CPU per request"))
    });
    assert_eq!(translated.filter(|target| target["measured"] != "not measured").count(), 1, "{targets:#?}");
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [
        "--seconds",
        "0.2",
        "--works",
        "put-256",
        "--clients",
        "1",
        "--rungs",
        "direct,nginx",
        "--nginx",
        "/nonexistent",
    ];
    let report = ladder(folder.path(), &arguments);
    let rungs = report["rungs"].as_array().expect("rungs");
    let nginx = rungs.iter().find(|rung| rung["kind"] == "nginx").expect("nginx");
    assert!(nginx["missing"].is_string(), "{nginx:#}");
    let figures = report["figures"].as_array().expect("figures");
    assert!(figures.iter().all(|row| row["rung"] == "direct"), "{figures:#?}");
}
