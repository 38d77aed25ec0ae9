//! A playground of real etcd shards, as a process of its own, with `fake-prism` as its proxy.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests, outside a test function")]

mod support;

use std::time::Duration;

use support::{Playground, etcd, etcdctl, listening, until};

const SHARDS: [&str; 4] = ["events", "leases", "pods", "rest"];

#[test]
fn starts_stops_in_order_and_keeps_the_data() {
    let data = tempfile::tempdir().expect("a directory");
    let mut first = Playground::start("127.0.83.1:2379", data.path(), 2);
    first.wait_until_ready();

    for (shard, step) in SHARDS.iter().zip(1..) {
        let endpoint = format!("127.0.83.1:{}", 2379 + 10_000 * step);
        assert_eq!(etcdctl(&endpoint, &["put", "/key", shard]), "OK\n");
    }
    assert!(first.output().contains("--etcd-servers=http://127.0.83.1:2379,http://127.0.83.1:2479\n"));

    first.signal("INT");
    assert_eq!(first.wait(), Some(0), "{}", first.output());
    for proxy in ["prism-1", "prism-2"] {
        let log = std::fs::read_to_string(data.path().join(proxy).with_extension("log")).expect("a log");
        assert_eq!(log, "SIGTERM with 4 shards up\n", "{proxy} must be stopped before the shards");
    }
    for port in [2389, 2489, 12379, 12380, 22379, 22380, 32379, 32380, 42379, 42380] {
        assert!(!listening(&format!("127.0.83.1:{port}")), "port {port} is still taken");
    }

    // The same data on other ports.
    let mut second = Playground::start("127.0.83.2:2300", data.path(), 1);
    second.wait_until_ready();
    for (shard, step) in SHARDS.iter().zip(1..) {
        let endpoint = format!("127.0.83.2:{}", 2300 + 10_000 * step);
        assert_eq!(etcdctl(&endpoint, &["get", "/key", "--print-value-only"]), format!("{shard}\n"));
    }
    second.signal("TERM");
    assert_eq!(second.wait(), Some(0), "{}", second.output());
}

#[test]
fn a_shard_takes_what_the_proxy_adds_to_the_largest_requests() {
    let data = tempfile::tempdir().expect("a directory");
    let mut playground = Playground::start("127.0.83.3:2379", data.path(), 1);
    playground.wait_until_ready();
    let value = "v".repeat(1_572_864 + 2048);
    let large = support::etcdctl_stdin("127.0.83.3:42379", &["put", "/large"], &value);
    assert_eq!(large, "OK\n");
    let puts = (0..160).map(|n| format!("put /key{n} v\n")).collect::<String>();
    let wide = support::etcdctl_stdin("127.0.83.3:42379", &["txn"], &format!("\n{puts}\n\n"));
    assert!(wide.starts_with("SUCCESS\n"), "{wide}");
    playground.signal("TERM");
    assert_eq!(playground.wait(), Some(0));
}

#[test]
fn a_second_one_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let mut first = Playground::start("127.0.83.4:2379", data.path(), 1);
    first.wait_until_ready();

    let mut second = Playground::start("127.0.83.5:2379", data.path(), 1);
    assert_eq!(second.wait(), Some(1));
    let message = format!("error: a playground (pid {}) already runs on ", first.pid());
    assert!(second.errors().starts_with(&message), "{}", second.errors());

    first.signal("TERM");
    assert_eq!(first.wait(), Some(0));
}

#[test]
fn every_port_in_use_is_named() {
    let data = tempfile::tempdir().expect("a directory");
    let _client = std::net::TcpListener::bind("127.0.83.6:2379").expect("free");
    let _shard = std::net::TcpListener::bind("127.0.83.6:32379").expect("free");
    let mut playground = Playground::start("127.0.83.6:2379", data.path(), 1);
    assert_eq!(playground.wait(), Some(1));
    let expected = "error: cannot listen on:
  127.0.83.6:2379 (prism-1 for clients): Address already in use (os error 98)
  127.0.83.6:32379 (shard pods for clients): Address already in use (os error 98)
stop what holds these ports, or choose others with --listen (every port follows from it)
";
    assert_eq!(playground.errors(), expected);
}

#[test]
fn a_child_that_dies_ends_everything() {
    let data = tempfile::tempdir().expect("a directory");
    let mut playground = Playground::start("127.0.83.7:2379", data.path(), 1);
    playground.wait_until_ready();
    // etcd answers SIGQUIT with the stacks of all goroutines, on standard error.
    support::signal(playground.pid_of("shard pods"), "QUIT");
    assert_eq!(playground.wait(), Some(1));
    let errors = playground.errors();
    assert!(errors.starts_with("error: shard pods ended by itself (exit status: 2); its log, "), "{errors}");
    assert!(errors.contains("/pods.log, ends with:\n  "), "{errors}");
    assert!(!listening("127.0.83.7:12379"), "the other shards must be stopped");
}

#[test]
fn a_child_that_cannot_start_shows_why() {
    let data = tempfile::tempdir().expect("a directory");
    std::fs::write(data.path().join("leases"), "not a directory").expect("written");
    let mut playground = Playground::start("127.0.83.8:2379", data.path(), 1);
    assert_eq!(playground.wait(), Some(1));
    let errors = playground.errors();
    assert!(errors.starts_with("error: shard leases ended by itself (exit status: 1)"), "{errors}");
    assert!(errors.contains("not a directory"), "{errors}");
}

#[test]
fn a_second_signal_does_not_wait_for_a_child_that_hangs() {
    let data = tempfile::tempdir().expect("a directory");
    let mut playground = Playground::start("127.0.83.11:2379", data.path(), 1);
    playground.wait_until_ready();
    support::signal(playground.pid_of("proxy prism-1"), "STOP");
    playground.signal("INT");
    playground.wait_for("SIGINT: stopping the proxies, then the shards\n");
    playground.signal("INT");
    assert_eq!(playground.wait(), Some(0), "{}", playground.output());
    assert!(playground.output().ends_with("SIGINT again: killing what is left\n"), "{}", playground.output());
    for port in [2389, 12379, 22379, 32379, 42379] {
        let address = format!("127.0.83.11:{port}");
        until(Duration::from_secs(10), &format!("{address} is still served"), || !listening(&address));
    }
}

#[test]
fn no_child_outlives_a_killed_playground() {
    let data = tempfile::tempdir().expect("a directory");
    let mut playground = Playground::start("127.0.83.9:2379", data.path(), 1);
    playground.wait_until_ready();
    playground.signal("KILL");
    assert_eq!(playground.wait(), None);
    for port in [2389, 12379, 22379, 32379, 42379] {
        let address = format!("127.0.83.9:{port}");
        until(Duration::from_secs(10), &format!("{address} is still served"), || !listening(&address));
    }
}

#[test]
fn a_missing_etcd_is_named() {
    let data = tempfile::tempdir().expect("a directory");
    let mut playground = Playground::start_with_etcd("127.0.83.10:2379", data.path(), 1, "/nowhere/etcd");
    assert_eq!(playground.wait(), Some(1));
    let expected =
        "error: no etcd at /nowhere/etcd: name an etcd binary with --etcd (`scripts/tool etcd` prints one)\n";
    assert_eq!(playground.errors(), expected);
    assert!(etcd().is_file());
}
