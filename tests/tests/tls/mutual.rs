//! Who may connect.

use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::ListenTls;
use etcd_prism_tests::raw::RawConnection;
use etcd_prism_tests::topology::Topology;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::certs::{Authority, Files, Identity};
use crate::client::{Dialler, works};

/// A proxy with TLS, over plaintext shards.
pub(crate) struct Site {
    pub(crate) topology: Topology,
    pub(crate) servers: Authority,
    pub(crate) clients: Authority,
    pub(crate) files: Files,
    pub(crate) identity: Identity,
}

impl Site {
    /// Clients need a certificate of the authority `clients` with one of `names`, if there are any.
    pub(crate) async fn start(names: &[&str]) -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let scratch = std::sync::Arc::new(etcd_prism_tests::scratch::Scratch::new());
        let files = Files::new(scratch.path(), "proxy-tls");
        let identity = servers.issue("proxy");
        let (cert, key) = files.identity(&identity);
        let client_ca = Some(files.write("clients.crt", &clients.pem()));
        let allowed_names = names.iter().map(|name| (*name).to_owned()).collect();
        let tls = ListenTls { cert, key, client_ca, allowed_names };
        let layout = Layout::single();
        let shards = Topology::shards(&layout, EtcdBuilder::new, &scratch).await;
        let mut builder = etcd_prism_tests::proxy::ProxyBuilder::new("proxy", layout.clone()).tls(tls);
        for (name, cluster) in &shards {
            builder = builder.shard(name, cluster.endpoints());
        }
        let proxy = builder.start(&scratch).await;
        Self { topology: Topology { proxy, shards, layout, scratch }, servers, clients, files, identity }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        self.topology.proxy.endpoint().replace("https://", "")
    }

    /// A client that may connect.
    pub(crate) fn dialler(&self) -> Dialler {
        Dialler::new(&self.servers, Some(&self.clients.issue("apiserver")))
    }
}

#[tokio::test]
async fn only_clients_of_the_right_authority_are_let_in() {
    let site = Site::start(&[]).await;
    let (address, strangers) = (site.address(), Authority::new("strangers"));
    let (connection, certificate) =
        site.dialler().connect(&address).await.expect("a client of the right authority");
    assert_eq!(certificate, site.identity.certificate());
    let refused = [
        ("no certificate", Dialler::new(&site.servers, None)),
        (
            "a certificate of another authority",
            Dialler::new(&site.servers, Some(&strangers.issue("apiserver"))),
        ),
        (
            "a certificate of the servers' authority",
            Dialler::new(&site.servers, Some(&site.servers.issue("apiserver"))),
        ),
        (
            "an expired certificate",
            Dialler::new(&site.servers, Some(&site.clients.issue_expired("apiserver"))),
        ),
        (
            "a client that does not trust the proxy",
            Dialler::new(&strangers, Some(&site.clients.issue("apiserver"))),
        ),
    ];
    for (what, dialler) in refused {
        let error = dialler.connect(&address).await.err();
        println!("{what}: {error:?}");
        assert!(error.is_some(), "{what} was let in");
        works(&connection, "/registry/pods/a").await.expect("the others go on");
    }
    plaintext_is_refused(&address).await;
    works(&connection, "/registry/pods/a").await.expect("the others go on");
}

/// HTTP/2 and HTTP/1 without TLS at a port with TLS: the connection ends at once.
async fn plaintext_is_refused(address: &str) {
    let (connection, task) = RawConnection::connect_with(address, 1 << 20).await;
    works(&connection, "/registry/pods/a").await.expect_err("plaintext at a TLS port");
    task.await.expect("the connection's task").expect_err("the connection ends");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .expect("a request");
    let mut answer = Vec::new();
    let end = tokio::time::timeout(etcd_prism_tests::wait::DEADLINE, stream.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the connection stays open");
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}

/// The allow-list is checked on top of the authority.
#[tokio::test]
async fn only_clients_with_an_allowed_name_are_let_in() {
    let site = Site::start(&["apiserver", "*.controlplane.example.com"]).await;
    site.topology.proxy.expect_log("carries no allowed name");
    let address = site.address();
    let trying = |identity: Identity| Dialler::new(&site.servers, Some(&identity));
    let allowed = [
        ("the common name", site.clients.issue("apiserver")),
        ("a DNS name below the wildcard", site.clients.issue_for("other", "a.controlplane.example.com")),
    ];
    for (what, identity) in allowed {
        trying(identity).connect(&address).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let refused = [
        ("another common name", site.clients.issue("kubelet")),
        ("two labels below the wildcard", site.clients.issue_for("other", "a.b.controlplane.example.com")),
        ("the wildcard's parent", site.clients.issue_for("other", "controlplane.example.com")),
        ("an allowed name of another authority", Authority::new("strangers").issue("apiserver")),
        ("an allowed name that has expired", site.clients.issue_expired("apiserver")),
    ];
    for (what, identity) in refused {
        let error = trying(identity).connect(&address).await.err();
        println!("{what}: {error:?}");
        assert!(error.is_some(), "{what} was let in");
    }
    // The operator can see who it was.
    let line = site.topology.proxy.wait_log("carries no allowed name").await;
    assert!(line.contains("kubelet"), "{line}");
}

/// As many as a small cluster has.
#[tokio::test]
async fn two_hundred_connections_that_all_work() {
    const CONNECTIONS: usize = 200;
    let site = Site::start(&["apiserver"]).await;
    let (address, dialler) = (site.address(), site.dialler());
    let before = site.topology.proxy.rss();
    let mut opening = tokio::task::JoinSet::new();
    for index in 0..CONNECTIONS {
        let (address, dialler) = (address.clone(), dialler.clone());
        opening.spawn(async move {
            let (connection, _) =
                dialler.connect(&address).await.unwrap_or_else(|error| panic!("{index}: {error}"));
            connection
        });
    }
    let connections = opening.join_all().await;
    let grown = site.topology.proxy.rss().saturating_sub(before);
    println!(
        "{CONNECTIONS} connections: the proxy grew by {} KiB, {} KiB each",
        grown >> 10,
        grown / 1024 / CONNECTIONS as u64
    );
    assert!(grown < CONNECTIONS as u64 * (256 << 10), "{grown} bytes");
    for (index, connection) in connections.iter().enumerate() {
        works(connection, &format!("/registry/pods/{index}")).await.expect("a connection that works");
    }
}
