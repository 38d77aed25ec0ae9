use crate::testing::{self, LISTEN, ROUTE, SHARD, good};

fn file(route: &str) -> String {
    format!("{LISTEN}{SHARD}{ROUTE}[[route]]\n{route}\n")
}

/// Line 9 is `[[route]]`; another route is the default.
fn check(route: &str, expected: &[&str]) {
    testing::check(&file(route), expected);
}

fn with(prefixes: &str) -> String {
    format!("name = \"pods\"\nshard = \"rest\"\nprefixes = {prefixes}")
}

#[test]
fn routes() {
    let config =
        good(&file(&with("[\"/registry/pods/\", \"/registry/example.com/widgets/\", \"foo/\", \"/é/\"]")));
    let route = &config.routes[1];
    assert_eq!((route.name.as_str(), route.shard.as_str(), route.is_default()), ("pods", "rest", false));
    assert_eq!(route.prefixes, ["/registry/pods/", "/registry/example.com/widgets/", "foo/", "/é/"]);
    assert!(config.routes[0].is_default());
}

#[test]
fn names_and_shards() {
    check(
        "prefixes = [\"/a/\"]",
        &["9:1 [[route]] lacks name; write name", "9:1 [[route]] lacks shard; write shard"],
    );
    check(
        "name = \"P\"\nshard = \"rest\"\nprefixes = [\"/a/\"]",
        &["10:8 bad name \"P\"; a name is made of"],
    );
    check(
        "name = 1\nshard = [\"rest\"]\nprefixes = [\"/a/\"]",
        &["10:8 name: expected a string, found an integer", "11:9 shard: expected a string, found an array"],
    );
}

#[test]
fn prefixes() {
    check(
        &with("[]"),
        &[
            "12:12 prefixes: an empty list; list prefixes such as ~the default route has no prefixes key at all",
        ],
    );
    check(&with("\"/a/\""), &["12:12 prefixes: expected a list, found a string; put it in brackets"]);
    check(&with("[\"\"]"), &["12:13 prefixes: an empty prefix; write a prefix"]);
    check(
        &with("[\"\\xffprism/\"]"),
        &["12:13 prefixes: keys that begin with byte 0xFF are the proxy's own"],
    );
    check(&with("[\"ÿ/\"]"), &["12:13 prefixes: keys that begin with byte 0xFF"]);
    check(
        &with("[\"/registry/pods\"]"),
        &[
            "12:13 prefixes: \"/registry/pods\" does not end in \"/\"; write \"/registry/pods/\": it also owns the key",
        ],
    );
    check(
        &with("[1, \"/a/\", \"b\"]"),
        &[
            "12:13 prefixes: expected a string, found an integer",
            "12:23 prefixes: \"b\" does not end in \"/\"",
        ],
    );
}

#[test]
fn keys_of_home_cannot_be_taken() {
    for (prefix, key) in [
        ("compact_rev_key/", "compact_rev_key"),
        ("/registry/health/", "/registry/health"),
        ("/registry/", "/registry/health"),
        ("/", "/registry/health"),
    ] {
        let expected = format!(
            "12:13 prefixes: {prefix:?} owns the key {key:?}, which belongs to the default route; list"
        );
        check(&with(&format!("[{prefix:?}]")), &[&expected]);
    }
    check(
        &with("[\"compact_rev_key2/\", \"/registry/healthz/\", \"/registry/health/x/\", \"/other/\"]"),
        &[],
    );
}
