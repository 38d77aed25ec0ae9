//! Whole handshakes between a server and a client of this crate.

use std::sync::Arc;

use rcgen::SanType;
use rustls::version::{TLS12, TLS13};

use crate::testing::{Authority, Files, Identity, client, connect, dns, server};
use crate::{ALPN_H2, ALPN_HTTP1, ReloadingClientConfig};

/// What a mutual server that allows `allowed` says to a client with `identity`; empty when it is let in.
async fn refusal(
    server_ca: &Authority,
    allowed: &[&str],
    ca: &Authority,
    identity: Option<&Identity>,
) -> String {
    let files = Files::new();
    let server = server(files.server(&server_ca.issue("server", &[]), Some(ca), allowed));
    let client = client(files.client(server_ca, identity));
    match connect(server, client).await {
        Ok(_) => String::new(),
        Err([server, client]) => {
            assert!(!client.is_empty(), "the client must learn of it: {server}");
            server
        }
    }
}

#[tokio::test]
async fn without_client_ca_any_client_is_let_in() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = server(files.server(&ca.issue("server", &[]), None, &[]));
    for identity in [None, Some(ca.issue("client", &[]))] {
        let client = client(files.client(&ca, identity.as_ref()));
        let (server, client) = connect(server.clone(), client).await.expect("a connection");
        assert_eq!(server.get_ref().1.alpn_protocol(), Some(ALPN_H2));
        assert_eq!(client.get_ref().1.alpn_protocol(), Some(ALPN_H2));
        assert_eq!(server.get_ref().1.peer_certificates(), None);
    }
}

#[tokio::test]
async fn mutual() {
    let (server_ca, client_ca) = (Authority::new("servers"), Authority::new("clients"));
    let good = client_ca.issue("client", &[]);
    assert_eq!(refusal(&server_ca, &[], &client_ca, Some(&good)).await, "");
    assert_eq!(refusal(&server_ca, &[], &client_ca, None).await, "peer sent no certificates");
    let stranger = server_ca.issue("client", &[]);
    let refused = refusal(&server_ca, &[], &client_ca, Some(&stranger)).await;
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let expired = client_ca.issue_expired("client");
    let refused = refusal(&server_ca, &[], &client_ca, Some(&expired)).await;
    assert!(refused.contains("expired"), "{refused}");
}

#[tokio::test]
async fn allowed_names() {
    let ca = Authority::new("ca");
    let identity = ca.issue("apiserver", &[dns("a.example.com"), SanType::IpAddress([10, 0, 0, 1].into())]);
    for allowed in ["apiserver", "a.example.com", "*.example.com", "10.0.0.1", "localhost"] {
        assert_eq!(refusal(&ca, &["other", allowed], &ca, Some(&identity)).await, "", "{allowed}");
    }
    for allowed in ["server", "*.com", "example.com", "10.0.0.2"] {
        let refused = refusal(&ca, &[allowed], &ca, Some(&identity)).await;
        assert!(refused.contains("ApplicationVerificationFailure"), "{allowed}: {refused}");
    }
    // A right name does not make up for a wrong CA.
    let stranger = Authority::new("ca").issue("apiserver", &[]);
    let refused = refusal(&ca, &["apiserver"], &ca, Some(&stranger)).await;
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

/// What the client says to a server with `identity`; empty when it goes on.
async fn distrust(ca: &Authority, identity: &Identity) -> String {
    let files = Files::new();
    let server = server(files.server(identity, None, &[]));
    connect(server, client(files.client(ca, None))).await.err().map(|[_, client]| client).unwrap_or_default()
}

#[tokio::test]
async fn the_client_checks_the_server() {
    let ca = Authority::new("ca");
    assert_eq!(distrust(&ca, &ca.issue("server", &[])).await, "");
    let distrusted = distrust(&ca, &Authority::new("other").issue("server", &[])).await;
    assert!(distrusted.contains("UnknownIssuer"), "{distrusted}");
    let distrusted = distrust(&ca, &ca.issue_expired("server")).await;
    assert!(distrusted.contains("expired"), "{distrusted}");
}

#[tokio::test]
async fn both_versions_of_tls() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let identity = ca.issue("both", &[]);
    let server = server(files.server(&identity, Some(&ca), &["both"]));
    for version in [&TLS12, &TLS13] {
        let roots =
            crate::pem::Opener::default().open(&files.write("ca.crt", ca.pem())).expect("a file").roots();
        let opened = |path| crate::pem::Opener::default().open(path).expect("a file");
        let mut config = rustls::ClientConfig::builder_with_provider(crate::provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots.expect("roots"))
            .with_client_auth_cert(
                opened(&files.path("server.crt")).certificates().expect("a certificate"),
                opened(&files.path("server.key")).private_key().expect("a key"),
            )
            .expect("a pair");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Twice with one client: sessions are not resumed, so the second is a full handshake too.
        let config = Arc::new(config);
        for _ in 0..2 {
            let (server, _client) = connect(server.clone(), config.clone()).await.expect("a connection");
            let connection = server.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(version.version));
            assert_eq!(connection.alpn_protocol(), Some(ALPN_HTTP1));
            assert_eq!(connection.handshake_kind(), Some(rustls::HandshakeKind::Full));
            let peer = connection.peer_certificates().expect("a certificate");
            assert_eq!(crate::peer_names(&peer[0]).expect("names").common_name.as_deref(), Some("both"));
        }
    }
}

#[tokio::test]
async fn a_protocol_that_nobody_speaks_is_refused() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let server = server(files.server(&ca.issue("server", &[]), None, &[]));
    let mut config = Arc::unwrap_or_clone(client(files.client(&ca, None)));
    config.alpn_protocols = vec![b"smtp".to_vec()];
    let [server, _] = connect(server, Arc::new(config)).await.expect_err("no protocol");
    assert!(server.contains("any known protocol"), "{server}");
}

#[test]
fn the_server_name_is_the_host_unless_configured() {
    let (files, ca) = (Files::new(), Authority::new("ca"));
    let mut tls = files.client(&ca, None);
    let name = |config: &ReloadingClientConfig, host: &str| {
        config.server_name(host).map(|name| name.to_str().into_owned()).map_err(|error| error.to_string())
    };
    let config = ReloadingClientConfig::load(tls.clone()).expect("a client");
    assert_eq!(name(&config, "etcd-0.example.com").as_deref(), Ok("etcd-0.example.com"));
    assert_eq!(name(&config, "10.0.0.1").as_deref(), Ok("10.0.0.1"));
    assert_eq!(name(&config, "::1").as_deref(), Ok("::1"));
    assert_eq!(name(&config, "a b"), Err("\"a b\" is not a server name".to_owned()));
    tls.server_name = Some("etcd".to_owned());
    let config = ReloadingClientConfig::load(tls).expect("a client");
    assert_eq!(name(&config, "10.0.0.1").as_deref(), Ok("etcd"));
}
