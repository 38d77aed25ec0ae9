use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::{LISTEN, ROUTE, SHARD, check, good};

const EXAMPLE: &str = include_str!("../../examples/prism.toml");

#[test]
fn the_example_is_good_and_has_four_shards() {
    let config = good(EXAMPLE);
    let names: Vec<&str> = config.shards.iter().map(|shard| shard.name.as_str()).collect();
    assert_eq!(names, ["events", "leases", "pods", "rest"]);
    let routes: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(routes, names);
    assert_eq!(config.home().map(|home| home.name.as_str()), Some("rest"));
    assert_eq!(config.cluster_name, DEFAULT_CLUSTER_NAME);
}

/// The example with its comments on keys taken away says nothing else than the defaults, besides TLS and one more shard.
#[test]
fn what_the_example_comments_out_is_good_too() {
    let commented = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).map(str::to_owned)
    };
    let text: Vec<String> =
        EXAMPLE.lines().map(|line| commented(line).unwrap_or_else(|| line.to_owned())).collect();
    let text = text.join("\n").replace("\"http://127.0.0.1:2379\"", "\"https://127.0.0.1:2379\"");
    let (full, plain) = (good(&text), good(EXAMPLE));
    assert_eq!(full.shards.len(), 5);
    assert_eq!(full.shards[..4], plain.shards);
    assert_eq!((full.routes, full.log, full.cluster_name), (plain.routes, plain.log, plain.cluster_name));
    assert!(full.listen.tls.is_some_and(|tls| tls.client_ca.is_some() && tls.allowed_names.len() == 1));
    assert_eq!(full.listen.drain_timeout, plain.listen.drain_timeout);
    assert_eq!(full.listen.max_concurrent_streams, plain.listen.max_concurrent_streams);
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = "clustername = \"a\"\n[listen]\nclient = \"x\"\nmax_txn_ops = 0\n[[shard]]\nname = \"A\"\n\
        endpoints = [\"ftp://a\"]\n[[route]]\nname = \"a\"\nshard = \"b\"\nprefixes = [\"a\"]\n[logs]\n";
    check(
        text,
        &[
            "1:1 unknown key clustername in the file; did you mean cluster_name?",
            "3:10 client: not an address",
            "4:15 max_txn_ops: out of bounds",
            "6:8 bad name \"A\"",
            "7:14 endpoints: an endpoint begins with http:// or https://",
            "8:1 no default route",
            "10:9 no shard is called \"b\"",
            "11:13 prefixes: \"a\" does not end in \"/\"",
            "12:2 unknown key logs in the file; did you mean log?",
        ],
    );
}

#[test]
fn an_empty_file_lacks_everything() {
    check("", &["1:1 the file lacks listen", "1:1 the file lacks shard", "1:1 the file lacks route"]);
}

#[test]
fn sections_of_the_wrong_shape() {
    let text = format!("listen = 1\n{SHARD}{ROUTE}");
    check(&text, &["1:10 listen: expected a table, found an integer; write it as [listen]"]);
    let text = format!("{LISTEN}{}{ROUTE}", SHARD.replace("[[shard]]", "[shard]"));
    check(
        &text,
        &[
            "3:1 shard: expected a list of tables, found a table; begin each with a line [[shard]]",
            "8:9 no shard is called \"rest\"",
        ],
    );
}

#[test]
fn broken_syntax_does_not_hide_sure_mistakes() {
    let text = format!("{LISTEN}drain_timeout = 10s\nmax_txn_ops = 0\n{SHARD}{ROUTE}");
    check(
        &text,
        &[
            "3:17 string values must be quoted, expected literal string; the file is TOML",
            "4:15 max_txn_ops: out of bounds",
        ],
    );
}

#[test]
fn broken_syntax_invents_no_mistakes() {
    // The route's shard and the second route's prefixes are lost to the parser: neither is reported as missing.
    let text = format!("{LISTEN}{SHARD}{ROUTE}[[route]]\nname = \"a\"\nshard = rest\nprefixes = [\"/a/\n");
    let found = crate::testing::mistakes(&text);
    assert!(
        !found.is_empty() && found.iter().all(|m| m.starts_with("11:") || m.starts_with("12:")),
        "{found:#?}"
    );
    let text = format!("{LISTEN}{SHARD}{}", ROUTE.replace("[[route]]", "[[route]"));
    let found = crate::testing::mistakes(&text);
    assert!(found.len() == 1 && found[0].starts_with("6:"), "{found:#?}");
}

#[test]
fn a_key_given_twice() {
    let text = format!("{LISTEN}client = \"127.0.0.1:1\"\n{SHARD}{ROUTE}");
    check(&text, &["3:1 duplicate key"]);
}

#[test]
fn load_takes_relative_paths_from_the_directory_of_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("prism.toml");
    let shard = "[[shard]]\nname = \"rest\"\nendpoints = [\"https://a:1\"]\nusername = \"u\"\npassword_file = \"pw\"\n\
        [shard.tls]\nca = \"tls/ca.crt\"\ncert = \"/abs/c.crt\"\nkey = \"k\"\n";
    let tls = "[listen.tls]\ncert = \"s.crt\"\nkey = \"s.key\"\nclient_ca = \"../c.crt\"\n";
    fs::write(&file, format!("{LISTEN}{tls}{shard}{ROUTE}")).expect("a file");
    let config = Config::load(&file).expect("good");
    let at = |name: &str| dir.path().join(name);
    let tls = config.listen.tls.expect("tls");
    assert_eq!((tls.cert, tls.key, tls.client_ca), (at("s.crt"), at("s.key"), Some(at("../c.crt"))));
    let shard = &config.shards[0];
    assert_eq!(shard.password_file, Some(at("pw")));
    let tls = shard.tls.as_ref().expect("tls");
    assert_eq!((&tls.ca, tls.cert.as_deref()), (&at("tls/ca.crt"), Some(Path::new("/abs/c.crt"))));
    assert_eq!(tls.key, Some(at("k")));
}

#[test]
fn load_says_what_the_system_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("none.toml");
    let error = Config::load(&missing).expect_err("no file").to_string();
    assert!(error.starts_with(&format!("cannot read {}: No such file", missing.display())), "{error}");
}

#[test]
fn load_finds_the_byte_that_is_no_text() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("prism.toml");
    fs::write(&file, b"# \xc3\xa9\nx = \"\xff\"\n").expect("a file");
    let errors = Config::load(&file).expect_err("not text");
    let places: Vec<_> =
        errors.diagnostics().iter().map(|d| (d.line, d.column, d.message.as_str())).collect();
    assert_eq!(places, [(2, 6, "not UTF-8 text")]);
    assert!(errors.to_string().contains("prism.toml:2:6"), "{errors}");
}

fn toml_like() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[listen]".to_owned()),
        Just("[[shard]]".to_owned()),
        Just("[[route]]".to_owned()),
        Just("[shard.tls]".to_owned()),
        "(client|name|shard|endpoints|prefixes|tls|admin|key|\\PC{0,3}) ?= ?(\"\\PC{0,8}\"|\\[\"[a-z:/0-9]{0,12}\"\\]|[0-9]{1,20}|true|\\PC{0,5})",
        "\\PC{0,12}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_places_inside_it(text in toml_like()) {
        if let Err(errors) = Config::parse(&text, "f") {
            prop_assert!(!errors.diagnostics().is_empty());
            let lines: Vec<&str> = text.split('\n').collect();
            for d in errors.diagnostics() {
                prop_assert!((1..=lines.len()).contains(&d.line), "{d:?}");
                prop_assert!((1..=lines[d.line - 1].chars().count() + 1).contains(&d.column), "{d:?}");
            }
            let shown = errors.to_string();
            for d in errors.diagnostics() {
                prop_assert!(shown.contains(&format!("f:{}:{}", d.line, d.column)), "{d:?} in {shown}");
            }
        }
    }

    #[test]
    fn no_secret_is_ever_shown(secret in "[A-Z]{3}[A-Z0-9]{9}", place in 0..5usize) {
        let shard = |line: &str| format!("{LISTEN}{SHARD}{line}\n{ROUTE}");
        let text = match place {
            0 => shard(&format!("password = \"{secret}\"")),
            1 => shard(&format!("password = {secret}")),
            2 => format!("{LISTEN}{}{ROUTE}", SHARD.replace("http://", &format!("http://root:{secret}@"))),
            3 => shard(&format!("[shard.tls]\nca = \"c\"\ncert = \"c\"\nkey = \"\"\"-----BEGIN KEY-----\n{secret}\n-----END KEY-----\"\"\"")),
            _ => shard(&format!("password = \"\"\"\n{secret}\\q\"\"\"")),
        };
        let errors = Config::parse(&text, "f").expect_err("wrong");
        prop_assert!(!format!("{errors} {errors:?}").contains(&secret), "{errors}");
    }
}
