use std::io::Write;

use super::*;

#[test]
fn a_second_user_is_told_who_the_first_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("new/data");
    let first = DataDir::open(&path).expect("the first one gets it");

    let refused = DataDir::open(&path).expect_err("the second one does not");
    assert_eq!(
        refused.to_string(),
        format!(
            "a playground (pid {}) already runs on {}: stop it, or start this one with another --data-dir and --listen",
            std::process::id(),
            first.path().display(),
        )
    );

    drop(first);
    DataDir::open(&path).expect("free again");
}

#[test]
fn a_stale_pid_locks_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("playground.lock"), "123456789\n").expect("written");
    let data = DataDir::open(dir.path()).expect("nobody holds it");
    let pid = fs::read_to_string(data.path().join("playground.lock")).expect("readable");
    assert_eq!(pid, format!("{}\n", std::process::id()));
}

#[test]
fn the_log_of_the_last_run_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = DataDir::open(dir.path()).expect("nobody holds it");
    for run in ["first", "second", "third"] {
        let (_, mut log) = data.new_log("pods").expect("a log");
        write!(log, "{run}").expect("written");
    }
    let read = |name| fs::read_to_string(data.path().join(name)).expect("readable");
    assert_eq!(read("pods.log"), "third");
    assert_eq!(read("pods.previous.log"), "second");
}

#[test]
fn a_file_in_the_way_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    fs::write(&path, "").expect("written");
    let refused = DataDir::open(&path).expect_err("not a directory").to_string();
    assert!(refused.starts_with(&format!("{}: ", path.display())), "{refused}");
}
