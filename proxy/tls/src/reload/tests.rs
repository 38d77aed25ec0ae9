use std::fs;
use std::os::unix::fs::symlink;

use etcd_prism_config::ServerTls;
use tokio::task;

use crate::testing::{Authority, Files, client, connect, greet, logged};
use crate::{POLL_INTERVAL, ReloadingClientConfig, ReloadingServerConfig, TlsError, peer_names};

/// The common name of the certificate that a new client sees.
async fn seen(server: &ReloadingServerConfig, ca: &Authority) -> String {
    let files = Files::new();
    let (_server, client) =
        connect(server.current(), client(files.client(ca, None))).await.expect("a connection");
    let certificates = client.get_ref().1.peer_certificates().expect("a certificate");
    peer_names(&certificates[0]).expect("names").common_name.expect("a common name")
}

#[tokio::test]
async fn new_handshakes_see_the_new_certificate_and_old_connections_go_on() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server =
        ReloadingServerConfig::load(files.server(&ca.issue("old", &[]), None, &[])).expect("a server");
    let (mut far, mut near) =
        connect(server.current(), client(files.client(&ca, None))).await.expect("a connection");

    files.identity("server", &ca.issue("new", &[]));
    assert_eq!(seen(&server, &ca).await, "old");
    assert_eq!(server.reload(), Ok(true));
    assert_eq!(seen(&server, &ca).await, "new");
    assert_eq!((server.reloads(), server.reload_failures()), (1, 0));

    let (a, b) = tokio::join!(greet(&mut far), greet(&mut near));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(server.reload(), Ok(false));
    assert_eq!(server.reloads(), 1);
}

#[tokio::test]
async fn a_new_client_ca_counts_for_new_handshakes() {
    let (files, ca, other) = (Files::new(), Authority::new("ca"), Authority::new("other"));
    let server =
        ReloadingServerConfig::load(files.server(&ca.issue("s", &[]), Some(&ca), &[])).expect("a server");
    let client = client(files.client(&ca, Some(&ca.issue("client", &[]))));
    connect(server.current(), client.clone()).await.expect("the CA of the client");
    files.write("client-ca.crt", other.pem());
    assert_eq!(server.reload(), Ok(true));
    connect(server.current(), client).await.expect_err("no longer the CA of the client");
}

#[tokio::test]
async fn the_client_side_follows_its_files_too() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = ReloadingServerConfig::load(files.server(&ca.issue("s", &[]), Some(&ca), &["new"]))
        .expect("a server");
    let client =
        ReloadingClientConfig::load(files.client(&ca, Some(&ca.issue("old", &[])))).expect("a client");
    connect(server.current(), client.current()).await.expect_err("the old name is not allowed");
    files.identity("client", &ca.issue("new", &[]));
    assert_eq!(client.reload(), Ok(true));
    connect(server.current(), client.current()).await.expect("the new name is allowed");
}

#[tokio::test]
async fn bad_files_leave_the_old_ones_in_force_and_are_told_once() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let old = ca.issue("old", &[]);
    let server = ReloadingServerConfig::load(files.server(&old, None, &[])).expect("a server");
    let broken = |lines: usize| {
        let (results, lines_logged) = logged(|| [server.reload(), server.reload(), server.reload()]);
        let errors: Vec<String> = results.into_iter().map(|r| r.expect_err("broken").to_string()).collect();
        assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
        assert_eq!(lines_logged.len(), lines, "{lines_logged:?}");
        assert!(lines_logged.iter().all(|line| line.starts_with("ERROR") && line.contains(&errors[0])));
    };

    files.write("server.key", "no key");
    broken(1);
    assert_eq!(server.reload_failures(), 1);
    broken(0);
    files.write("server.key", "still no key");
    broken(1);
    fs::remove_file(files.path("server.key")).expect("removed");
    broken(1);
    assert_eq!((server.reloads(), server.reload_failures()), (0, 3));
    assert_eq!(seen(&server, &ca).await, "old");

    // The old files come back: nothing new comes into force, and the same mistake later is a new change.
    files.identity("server", &old);
    assert_eq!(logged(|| server.reload()), (Ok(false), Vec::new()));
    fs::remove_file(files.path("server.key")).expect("removed");
    broken(1);

    files.identity("server", &ca.issue("new", &[]));
    assert_eq!(logged(|| server.reload()), (Ok(true), Vec::new()));
    assert_eq!(seen(&server, &ca).await, "new");
    assert_eq!((server.reloads(), server.reload_failures()), (1, 4));
}

/// Puts `identity` in force in the way of a Kubernetes secret volume: a new directory, and one renamed symlink.
fn swap(files: &Files, generation: &str, identity: &crate::testing::Identity) {
    let dir = files.path(generation);
    fs::create_dir(&dir).expect("a directory");
    fs::write(dir.join("tls.crt"), &identity.cert).expect("a file");
    fs::write(dir.join("tls.key"), &identity.key).expect("a file");
    symlink(generation, files.path("..data_tmp")).expect("a link");
    fs::rename(files.path("..data_tmp"), files.path("..data")).expect("a rename");
}

fn mounted(files: &Files) -> ServerTls {
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), files.path(name)).expect("a link");
    }
    ServerTls {
        cert: files.path("tls.crt"),
        key: files.path("tls.key"),
        client_ca: None,
        allowed_names: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn watch_follows_swapped_symlinks_until_cancelled() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    swap(&files, "..1", &ca.issue("one", &[]));
    let server = ReloadingServerConfig::load(mounted(&files)).expect("a server");
    let cancel = tokio_util::sync::CancellationToken::new();
    let watch = task::spawn(server.clone().watch(cancel.clone()));
    // The clock is virtual and stands still while files are read.
    tokio::time::sleep(POLL_INTERVAL / 2).await;
    for (i, name) in ["two", "three"].into_iter().enumerate() {
        swap(&files, &format!("..{name}"), &ca.issue(name, &[]));
        tokio::time::sleep(POLL_INTERVAL).await;
        assert_eq!(server.reloads(), i as u64 + 1);
        assert_eq!(seen(&server, &ca).await, name);
    }
    cancel.cancel();
    watch.await.expect("an end");
}

#[test]
fn swaps_while_reading_never_mix_two_pairs() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    swap(&files, "..0", &ca.issue("first", &[]));
    let server = ReloadingServerConfig::load(mounted(&files)).expect("a server");
    let identities: Vec<_> = (1..200).map(|i| (format!("..{i}"), ca.issue("next", &[]))).collect();
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| identities.iter().for_each(|(name, identity)| swap(&files, name, identity)));
        while !writer.is_finished() {
            match server.reload() {
                Ok(_) | Err(TlsError::Unsettled { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    server.reload().expect("a pair");
    assert!(server.reloads() > 0);
}

#[test]
fn nothing_of_a_key_is_shown() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = ReloadingServerConfig::load(files.server(&ca.issue("s", &[]), None, &[])).expect("a server");
    assert_eq!(
        format!("{server:?}"),
        format!("Reloading {{ files: {:?}, .. }}", files.path("server.crt").display().to_string())
    );
}
