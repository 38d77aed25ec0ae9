use proptest::prelude::*;

use super::redact;

fn check(text: &str, expected: &str) {
    assert_eq!(redact(text), expected);
}

#[test]
fn nothing_to_hide() {
    for text in [
        "name = \"pods\"\n",
        "password_file = \"/etc/prism/password\"\n",
        "ca = \"/var/run/secrets/etcd/ca.crt\"\r\n",
        "endpoints = [\"http://10.0.0.1:2379\"]",
        "# mail ops@example.com",
        "",
    ] {
        check(text, text);
    }
}

#[test]
fn user_and_password_in_a_url() {
    check("e = [\"http://root:pw@h:1\"]", "e = [\"http://*******@h:1\"]");
    check("e = [\"http://h:1\", \"http://u:p\"@h:1\"]", "e = [\"http://******************@h:1\"]");
}

#[test]
fn a_key_that_speaks_of_a_secret() {
    check("password = \"hunter2\"\nname = \"a\"\n", "password************\nname = \"a\"\n");
    check("password: hunter2", "password*********");
    check("password hunter2", "password********");
    check("user = \"a\", Auth-Token = 'x'", "user = \"a\", Auth-Token******");
    check(
        "shard = { password_file = \"f\", password = \"é\" }",
        "shard = { password_file = \"f\", password*********",
    );
    check("secret.value = 1", "secret**********");
}

#[test]
fn values_over_several_lines() {
    check("password = \"\"\"\nhunter2\n\"\"\"\na = 1", "password******\n*******\n***\na = 1");
    check(
        "key = \"-----BEGIN X-----MII-----END X-----\"\na = 1",
        "key = \"************************************\na = 1",
    );
    check("-----BEGIN X-----\nMII\n-----END X-----\na = 1", "*****************\n***\n***************\na = 1");
}

proptest! {
    #[test]
    fn lines_and_offsets_stay(text in "[a-z=@:/\" '\\n\\-é]{0,80}|(pass|://|@|=|\"\"\"|-----BEGIN|\\n|x|é){0,12}") {
        let hidden = redact(&text);
        prop_assert_eq!(hidden.len(), text.len());
        let newlines = |s: &str| s.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect::<Vec<_>>();
        prop_assert_eq!(newlines(&hidden), newlines(&text));
    }

    #[test]
    fn no_password_survives(password in "[A-Z0-9]{8,20}", key in "(db_)?pass(word|wd)?|client_secret|api-token", eq in " ?= ?\"?|: ?| ") {
        let text = format!("name = \"a\"\n{key}{eq}{password}\"\nx = 1\ne = \"http://u:{password}@h:1\"\n");
        prop_assert!(!redact(&text).contains(&password));
    }
}
