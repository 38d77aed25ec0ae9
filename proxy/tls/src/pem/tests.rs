use etcd_prism_config::{ClientTls, ServerTls};

use crate::testing::{Authority, Files};
use crate::{ReloadingClientConfig, ReloadingServerConfig};

/// Loads a server from three texts; the error, with the directory taken out.
fn check(cert: &str, key: &str, client_ca: &str, expected: &str) {
    let files = Files::new();
    let tls = ServerTls {
        cert: files.write("crt", cert),
        key: files.write("key", key),
        client_ca: Some(files.write("ca", client_ca)),
        allowed_names: Vec::new(),
    };
    let error = ReloadingServerConfig::load(tls).err().map(|error| (error.to_string(), format!("{error:?}")));
    let (shown, debug) = error.unwrap_or_default();
    assert_eq!(shown.replace(&format!("{}/", files.root().display()), ""), expected);
    // Nothing of a key's body may be seen.
    for line in key.lines().filter(|line| line.len() > 20 && !line.starts_with('-')) {
        assert!(!shown.contains(line) && !debug.contains(line), "{shown}\n{debug}");
    }
}

#[test]
fn files_that_cannot_be_used() {
    let ca = Authority::new("ca");
    let (one, two) = (ca.issue("one", &[]), ca.issue("two", &[]));
    let ca = ca.pem();
    check(&one.cert, &one.key, &ca, "");
    check(&format!("{}\n{ca}", one.cert), &format!("# comment\n{}", one.key), &format!("{ca}{ca}"), "");
    check("", &one.key, &ca, "crt holds no PEM certificate");
    check(&one.key, &one.key, &ca, "crt holds no PEM certificate");
    check(&one.cert, "", &ca, "key holds no PEM private key (PKCS#8, PKCS#1 or SEC1, without a passphrase)");
    check(
        &one.cert,
        &one.cert,
        &ca,
        "key holds no PEM private key (PKCS#8, PKCS#1 or SEC1, without a passphrase)",
    );
    let encrypted = one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    check(
        &one.cert,
        &encrypted,
        &ca,
        "key holds no PEM private key (PKCS#8, PKCS#1 or SEC1, without a passphrase)",
    );
    let not_base64 = one.key.replacen("KEY-----\n", "KEY-----\n!", 1);
    check(&one.cert, &not_base64, &ca, "key is not well-formed PEM: a section is not base64");
    let cut: String = one.key.lines().take(2).map(|line| format!("{line}\n")).collect();
    check(&one.cert, &cut, &ca, "key is not well-formed PEM: a section has no END line");
    let begin = one.key.replacen("KEY-----\n", "KEY\n", 1);
    check(&one.cert, &begin, &ca, "key is not well-formed PEM: a BEGIN line is malformed");
    check(&one.cert, &one.key, "", "ca holds no PEM certificate");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(
        &one.cert,
        &one.key,
        garbage,
        "ca holds a certificate that cannot be a CA: invalid peer certificate: BadEncoding",
    );
    check(
        &one.cert,
        &two.key,
        &ca,
        "crt and key do not make a pair: keys may not be consistent: KeyMismatch",
    );
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n";
    check(
        &one.cert,
        no_key,
        &ca,
        "crt and key do not make a pair: unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA",
    );
}

#[test]
fn files_that_are_not_there() {
    let files = Files::new();
    let tls = ClientTls { ca: files.path("none"), cert: None, key: None, server_name: None };
    let error = ReloadingClientConfig::load(tls).expect_err("no file").to_string();
    assert_eq!(
        error,
        format!("cannot read {}: No such file or directory (os error 2)", files.path("none").display())
    );
}
