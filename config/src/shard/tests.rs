use std::time::Duration;

use crate::config::ClientTls;
use crate::testing::{self, LISTEN, ROUTE, good};

fn file(shard: &str) -> String {
    format!("{ROUTE}{LISTEN}[[shard]]\n{shard}\n")
}

/// Line 6 is `[[shard]]`.
fn check(shard: &str, expected: &[&str]) {
    testing::check(&file(shard), expected);
}

const PLAIN: &str = "name = \"rest\"\nendpoints = [\"http://a:1\", \"http://b:1\"]";
const SECURE: &str = "name = \"rest\"\nendpoints = [\"https://a:1\"]";

#[test]
fn defaults() {
    let shard = good(&file(PLAIN)).shards.remove(0);
    let urls: Vec<&str> = shard.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
    assert_eq!((shard.name.as_str(), urls), ("rest", vec!["http://a:1", "http://b:1"]));
    assert_eq!((shard.tls, shard.username, shard.password_file), (None, None, None));
    assert_eq!(
        (shard.request_timeout, shard.connect_timeout),
        (Duration::from_secs(7), Duration::from_secs(2))
    );
    assert_eq!((shard.keepalive_interval, shard.max_in_flight), (Duration::from_secs(10), 4096));
    assert!(!shard.allow_unsupported_version);
}

#[test]
fn everything_set() {
    let text = format!(
        "{SECURE}\nusername = \"prism\"\npassword_file = \"p\"\nrequest_timeout = \"500ms\"\nconnect_timeout = \"1s\"\n\
         keepalive_interval = \"1m\"\nmax_in_flight = 7\nallow_unsupported_version = true\n\
         [shard.tls]\nca = \"ca\"\ncert = \"c\"\nkey = \"k\"\nserver_name = \"etcd.example.com\""
    );
    let shard = good(&file(&text)).shards.remove(0);
    assert_eq!((shard.username.as_deref(), shard.password_file), (Some("prism"), Some("p".into())));
    assert_eq!(
        (shard.request_timeout, shard.connect_timeout),
        (Duration::from_millis(500), Duration::from_secs(1))
    );
    assert_eq!((shard.keepalive_interval, shard.max_in_flight), (Duration::from_secs(60), 7));
    assert!(shard.allow_unsupported_version);
    let tls = ClientTls {
        ca: "ca".into(),
        cert: Some("c".into()),
        key: Some("k".into()),
        server_name: Some("etcd.example.com".to_owned()),
    };
    assert_eq!(shard.tls, Some(tls));
}

#[test]
fn names() {
    check(
        "endpoints = [\"http://a:1\"]",
        &["3:9 no shard is called \"rest\"; add a [[shard]]", "6:1 [[shard]] lacks name"],
    );
    let named = |name: &str| format!("name = {name}\nendpoints = [\"http://a:1\"]");
    for bad in ["\"\"", "\"Rest\"", "\"re st\"", "\"re_st\"", "\"rést\""] {
        check(
            &named(bad),
            &["3:9 no shard is called \"rest\"", "7:8 bad name ~; a name is made of a-z, 0-9 and -"],
        );
    }
}

#[test]
fn endpoints() {
    let with = |list: &str| format!("name = \"rest\"\nendpoints = {list}");
    check(
        "name = \"rest\"",
        &["6:1 [[shard]] lacks endpoints; write endpoints = [\"http://10.0.0.1:2379\"]"],
    );
    check(&with("[]"), &["8:13 endpoints: an empty list; write endpoints = "]);
    check(
        &with("\"http://a:1\""),
        &["8:13 endpoints: expected a list, found a string; put it in brackets: endpoints = ["],
    );
    check(
        &with("[\"http://a\", 7]"),
        &[
            "8:14 endpoints: an endpoint ends in a port from 1 to 65535; write it as",
            "8:26 endpoints: expected a string, found an integer; write it as",
        ],
    );
    check(&with("[\"http://A:1\", \"http://a:1\"]"), &["8:28 endpoints: listed twice; take one"]);
    check(
        &with("[\"http://root:pw@a:1\"]"),
        &["8:14 endpoints: an endpoint holds no user or password; take them out"],
    );
}

#[test]
fn tls_where_the_urls_say_so() {
    check(
        SECURE,
        &["8:14 endpoints: an https URL, but nothing says which CA to trust ~; add [shard.tls] with ca"],
    );
    check(&format!("{SECURE}\n[shard.tls]"), &["9:1 [shard.tls] lacks ca; write ca = \"ca.crt\""]);
    check(
        &format!("{PLAIN}\n[shard.tls]\nca = \"ca\""),
        &["8:14 endpoints: an http URL, but the shard has a [shard.tls]; "],
    );
    check(
        "name = \"rest\"\nendpoints = [\"https://a:1\", \"http://b:1\"]\ntls = { ca = \"ca\" }",
        &["8:29 endpoints: http and https in one shard; use one scheme"],
    );
    let with = |lines: &str| format!("{SECURE}\n[shard.tls]\nca = \"ca\"\n{lines}");
    check(&with("cert = \"c\""), &["11:8 cert without key; add key"]);
    check(&with("key = \"k\""), &["11:7 key without cert; add cert"]);
    check(
        &with("server_name = \"https://etcd\""),
        &["11:15 server_name: neither a DNS name nor an IP address; "],
    );
}

#[test]
fn credentials() {
    check(&format!("{PLAIN}\nusername = \"u\""), &["9:12 username without password_file; add password_file"]);
    check(&format!("{PLAIN}\npassword_file = \"p\""), &["9:17 password_file without username; add username"]);
    check(&format!("{PLAIN}\nusername = \"\"\npassword_file = \"p\""), &["9:12 username: is empty"]);
    check(
        &format!("{PLAIN}\nusername = \"u\"\npassword = \"x\""),
        &[
            "9:12 username without password_file; add password_file",
            "10:1 unknown key password in [[shard]]; did you mean password_file?",
        ],
    );
}

#[test]
fn bounds() {
    let with = |line: &str| format!("{PLAIN}\n{line}");
    check(
        &with("keepalive_interval = \"9s\""),
        &["9:22 keepalive_interval: too short; write at least \"10s\""],
    );
    check(&with("request_timeout = \"0s\""), &["9:19 request_timeout: too short; write at least \"1ms\""]);
    check(
        &with("request_timeout = \"7\""),
        &["9:19 request_timeout: not a span of time; write a number and a unit"],
    );
    check(&with("connect_timeout = \"1d\""), &["9:19 connect_timeout: too long; write at most \"10m\""]);
    check(&with("max_in_flight = 0"), &["9:17 max_in_flight: out of bounds"]);
}
