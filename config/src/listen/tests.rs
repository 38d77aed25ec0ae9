use std::time::Duration;

use crate::config::{Config, DEFAULT_ADMIN};
use crate::testing::{self, ROUTE, SHARD, good};

fn file(listen: &str) -> String {
    format!("[listen]\n{listen}\n{SHARD}{ROUTE}")
}

/// Line 1 is `[listen]`.
fn check(listen: &str, expected: &[&str]) {
    testing::check(&file(listen), expected);
}

const CLIENT: &str = "client = \"127.0.0.1:2379\"";

#[test]
fn defaults() {
    let listen = good(&file(CLIENT)).listen;
    assert_eq!(listen.admin, DEFAULT_ADMIN);
    assert_eq!(listen.advertise, ["http://127.0.0.1:2379"]);
    assert_eq!(listen.tls, None);
    assert_eq!((listen.max_connections, listen.max_concurrent_streams), (10_000, 65_536));
    assert_eq!((listen.max_request_bytes, listen.max_message_bytes()), (1_572_864, 2_097_152));
    assert_eq!((listen.max_txn_ops, listen.workers, listen.work_stealing), (128, None, false));
    assert_eq!(listen.drain_timeout, Duration::from_secs(10));
}

#[test]
fn everything_set() {
    let text = "client = \"0.0.0.0:2379\"\nadmin = \"[::1]:9000\"\n\
        advertise = [\"https://Prism-0.example.com:2379/\", \"https://[::2]:2379\"]\n\
        max_connections = 1\nmax_concurrent_streams = 1_000\nmax_request_bytes = 0x100000\nmax_txn_ops = 1\n\
        workers = 3\nwork_stealing = true\ndrain_timeout = \"1m 30s\"\n\
        [listen.tls]\ncert = \"c\"\nkey = \"k\"\nclient_ca = \"ca\"\nallowed_names = [\"*.example.com\", \"root\"]\n";
    let listen = good(&file(text)).listen;
    assert_eq!(listen.advertise, ["https://prism-0.example.com:2379", "https://[::2]:2379"]);
    assert_eq!((listen.max_connections, listen.max_concurrent_streams), (1, 1000));
    assert_eq!((listen.max_request_bytes, listen.max_txn_ops), (1 << 20, 1));
    assert_eq!((listen.workers, listen.work_stealing), (Some(3), true));
    assert_eq!(listen.drain_timeout, Duration::from_secs(90));
    let tls = listen.tls.expect("tls");
    assert_eq!((tls.cert.as_path(), tls.key.as_path()), ("c".as_ref(), "k".as_ref()));
    assert_eq!(tls.client_ca.as_deref(), Some("ca".as_ref()));
    assert_eq!(tls.allowed_names, ["*.example.com", "root"]);
}

#[test]
fn advertise_follows_client_and_tls() {
    let advertise =
        |text: &str| -> Vec<String> { Config::parse(&file(text), "f").expect("good").listen.advertise };
    assert_eq!(advertise("client = \"[::1]:1234\""), ["http://[::1]:1234"]);
    let tls = format!("{CLIENT}\n[listen.tls]\ncert = \"c\"\nkey = \"k\"");
    assert_eq!(advertise(&tls), ["https://127.0.0.1:2379"]);
}

#[test]
fn addresses() {
    check("", &["1:1 [listen] lacks client; write client = \"127.0.0.1:2379\""]);
    check(
        "client = 2379",
        &["2:10 client: expected a string, found an integer; write an IP address and a port"],
    );
    check("client = \"localhost:2379\"", &["2:10 client: not an address to listen on; write an IP"]);
    check(
        "client = \"0.0.0.0:2379\"",
        &[
            "2:10 [listen] lacks advertise, and 0.0.0.0:2379 is no address to connect to; add advertise = [\"http://this-host",
        ],
    );
    check("client = \"127.0.0.1:0\"", &["2:10 [listen] lacks advertise, and 127.0.0.1:0"]);
    check(
        "client = \"127.0.0.1:2389\"",
        &["2:10 client and admin are both 127.0.0.1:2389; give them different ports"],
    );
    check(
        "client = \"127.0.0.1:9\"\nadmin = \"0.0.0.0:9\"",
        &["2:10 client and admin are both 127.0.0.1:9; give them different ports"],
    );
}

#[test]
fn advertised_urls() {
    let with = |list: &str| format!("{CLIENT}\nadvertise = {list}");
    check(&with("[]"), &["3:13 advertise: an empty list; list at least one URL"]);
    check(&with("\"http://h:1\""), &["3:13 advertise: expected a list, found a string; put it in brackets"]);
    check(&with("[\"h:1\"]"), &["3:14 advertise: an endpoint begins with http:// or https://; write it as"]);
    check(
        &with("[\"http://h:1\", \"http://h:1/\"]"),
        &["3:28 advertise: listed twice; take one of them out"],
    );
    check(
        &with("[\"http://h:1\"]\n[listen.tls]\ncert = \"c\"\nkey = \"k\""),
        &["3:14 advertise: an http URL, but [listen.tls] makes the client port TLS; write https://"],
    );
}

#[test]
fn bounds() {
    let with = |line: &str| format!("{CLIENT}\n{line}");
    check(
        &with("max_connections = 0"),
        &["3:19 max_connections: out of bounds; write a whole number from 1 to"],
    );
    check(&with("max_connections = -1"), &["3:19 max_connections: out of bounds"]);
    check(&with("max_connections = 1e3"), &["3:19 max_connections: expected a whole number, found a float"]);
    check(&with("max_txn_ops = \"128\""), &["3:15 max_txn_ops: expected a whole number, found a string"]);
    check(&with("max_concurrent_streams = 99999999999"), &["3:26 max_concurrent_streams: out of bounds"]);
    check(
        &with("max_concurrent_streams = 1"),
        &["3:26 max_concurrent_streams: out of bounds; write a whole number from 100"],
    );
    check(&with("max_request_bytes = 99999999999999999999"), &["3:21 max_request_bytes: out of bounds"]);
    check(&with("workers = 0"), &["3:11 workers: out of bounds"]);
    check(&with("work_stealing = \"yes\""), &["3:17 work_stealing: expected true or false, found a string"]);
    check(
        &with("drain_timeout = 10"),
        &["3:17 drain_timeout: expected a string, found an integer; write a text with a unit"],
    );
    check(&with("drain_timeout = \"2h\""), &["3:17 drain_timeout: too long; write at most \"1h\""]);
}

#[test]
fn tls() {
    let with = |tls: &str| format!("{CLIENT}\n[listen.tls]\n{tls}");
    check(
        &with(""),
        &["3:1 [listen.tls] lacks cert; ", "3:1 [listen.tls] lacks key; write key = \"server.key\""],
    );
    check(&with("cert = \"\"\nkey = \"k\""), &["4:8 cert: is empty; write a path"]);
    check(
        &with("cert = \"c\"\nkey = \"-----BEGIN PRIVATE KEY-----\\nMII\""),
        &["5:7 key: not a path; write the path of the file, not its content"],
    );
    check(
        &with("cert = \"c\"\nkey = \"k\"\nallowed_names = [\"root\"]"),
        &["6:17 allowed_names without client_ca: no client would be asked for a certificate; add client_ca"],
    );
    let names =
        |list: &str| with(&format!("cert = \"c\"\nkey = \"k\"\nclient_ca = \"a\"\nallowed_names = {list}"));
    check(&names("[]"), &["7:17 allowed_names: an empty list; list at least one name"]);
    check(
        &names("[\"a.*.b\", \"*\", \"*.\", \"\", \"*.a\"]"),
        &[
            "7:18 allowed_names: a * stands only for the whole first label",
            "7:27 allowed_names: a * stands only for the whole first label",
            "7:32 allowed_names: a * stands only for the whole first label",
            "7:38 allowed_names: is empty",
        ],
    );
    check(
        &format!("{CLIENT}\ntls = true"),
        &["3:7 tls: expected a table, found a boolean; write it as [listen.tls]"],
    );
}
