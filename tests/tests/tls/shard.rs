//! TLS towards shards: etcd that asks the proxy for a certificate.

use std::sync::Arc;

use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::request::{get, put, watch_prefix};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_stream::WatchStream;
use tonic::{Code, Status};

use crate::certs::{Authority, Files, Identity};
use crate::tls_etcd::{EtcdTls, TlsEtcd};

/// The shard with TLS; the others are plaintext.
const SECURE: &str = "pods";

/// A shard that refuses the proxy does so when the connection is there already.
const REFUSALS: [(Code, &str); 2] = [
    (Code::Unavailable, "etcdserver: request timed out"),
    (Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost"),
];

/// Who trusts whom.
struct Trust {
    servers: Authority,
    clients: Authority,
}

struct Site {
    proxy: Proxy,
    files: Files,
    _etcd: TlsEtcd,
    _shards: std::collections::BTreeMap<&'static str, EtcdCluster>,
}

/// A proxy that is `client` to a shard that is `server`, and trusts `trusted`.
async fn start(
    trust: &Trust,
    server: &Identity,
    trusted: &Authority,
    client: Option<&Identity>,
    server_name: &str,
) -> Site {
    let (scratch, layout) = (Arc::new(Scratch::new()), Layout::four_shards());
    let etcd_files = Files::new(scratch.path(), "etcd-tls");
    let (cert, key) = etcd_files.identity(server);
    let client_ca = etcd_files.write("clients.crt", &trust.clients.pem());
    let etcd = TlsEtcd::start(SECURE, &EtcdTls { cert, key, client_ca }, &scratch);
    let files = Files::new(scratch.path(), "prism-tls");
    files.write("ca.crt", &trusted.pem());
    let mut toml = format!("[shard.tls]\nca = {:?}\n", files.path("ca.crt"));
    if let Some(client) = client {
        files.identity(client);
        toml += &format!("cert = {:?}\nkey = {:?}\n", files.path("tls.crt"), files.path("tls.key"));
    }
    if !server_name.is_empty() {
        toml += &format!("server_name = {server_name:?}\n");
    }
    let mut shards = Topology::shards(&layout, EtcdBuilder::new, &scratch).await;
    shards.remove(SECURE);
    // Whether the shard with TLS can be reached is what is tested, so the others do not wait for it.
    let mut builder = ProxyBuilder::new("proxy", layout).without_fences();
    for (name, cluster) in &shards {
        builder = builder.shard(name, cluster.endpoints());
    }
    let proxy =
        builder.shard(SECURE, vec![etcd.endpoint()]).shard_extra(SECURE, &toml).start_unready(&scratch);
    proxy.expect_log(SECURE);
    let client = proxy.client();
    wait::until("the plaintext shards", async || client.kv().put(put("/registry/events/a", "1")).await).await;
    Site { proxy, files, _etcd: etcd, _shards: shards }
}

async fn write(client: &Client) -> Result<(), Status> {
    client.kv().put(put("/registry/pods/a", "1")).await.map(drop)
}

#[tokio::test]
async fn a_shard_that_asks_for_a_certificate_is_served() {
    let trust = Trust { servers: Authority::new("etcd"), clients: Authority::new("etcd clients") };
    let identity = trust.clients.issue("etcd-prism");
    let site = start(&trust, &trust.servers.issue("etcd"), &trust.servers, Some(&identity), "").await;
    let client = site.proxy.client();
    wait::until("the shard with TLS", async || write(&client).await).await;
    let found = client.kv().range(get("/registry/pods/a")).await.expect("a read").into_inner();
    assert_eq!(found.kvs.len(), 1);
    let mut stream = WatchStream::open(&client);
    stream.create(watch_prefix("/registry/pods/")).await;
    write(&client).await.expect("a write");
    assert_eq!(stream.next().await.events.len(), 1);
    site.proxy.wait_ready().await;
}

/// The shard's certificate carries a name that is not its address.
#[tokio::test]
async fn the_name_in_the_certificate_of_a_shard_can_be_given() {
    let trust = Trust { servers: Authority::new("etcd"), clients: Authority::new("etcd clients") };
    let (identity, server) =
        (trust.clients.issue("etcd-prism"), trust.servers.issue_for("etcd", "etcd.example.com"));
    let site = start(&trust, &server, &trust.servers, Some(&identity), "etcd.example.com").await;
    let client = site.proxy.client();
    wait::until("the shard with TLS", async || write(&client).await).await;
}

/// Every way in which trust can be lacking: that route is refused in etcd's words, the others go on.
#[tokio::test]
async fn a_shard_without_trust_is_not_served() {
    let trust = Trust { servers: Authority::new("etcd"), clients: Authority::new("etcd clients") };
    let (strangers, server) = (Authority::new("strangers"), trust.servers.issue("etcd"));
    let identity = trust.clients.issue("etcd-prism");
    let foreign = trust.servers.issue_for("etcd", "etcd.example.com");
    let cases = [
        ("the proxy trusts another authority", &server, &strangers, Some(identity.clone())),
        (
            "the shard's certificate has expired",
            &trust.servers.issue_expired("etcd"),
            &trust.servers,
            Some(identity.clone()),
        ),
        ("the shard's certificate has another name", &foreign, &trust.servers, Some(identity)),
        ("the proxy has no certificate", &server, &trust.servers, None),
        ("the shard does not trust the proxy", &server, &trust.servers, Some(strangers.issue("etcd-prism"))),
        (
            "the proxy's certificate has expired",
            &server,
            &trust.servers,
            Some(trust.clients.issue_expired("etcd-prism")),
        ),
    ];
    let mut trials = tokio::task::JoinSet::new();
    for (what, server, trusted, identity) in cases {
        let site = start(&trust, server, trusted, identity.as_ref(), "").await;
        trials.spawn(async move {
            // All of it, shards included.
            let site = site;
            let client = site.proxy.client();
            let refused = write(&client).await.expect_err(what);
            assert!(REFUSALS.contains(&(refused.code(), refused.message())), "{what}: {refused:?}");
            client.kv().put(put("/registry/events/a", "1")).await.expect("the other routes go on");
            println!("{what}: {refused:?}");
        });
    }
    while let Some(trial) = trials.join_next().await {
        trial.expect("a trial");
    }
}

/// The proxy's own certificate is renewed: the next connection to the shard shows the new one.
#[tokio::test]
async fn the_certificate_of_the_proxy_is_renewed() {
    let trust = Trust { servers: Authority::new("etcd"), clients: Authority::new("etcd clients") };
    let expired = trust.clients.issue_expired("etcd-prism");
    let site = start(&trust, &trust.servers.issue("etcd"), &trust.servers, Some(&expired), "").await;
    let client = site.proxy.client();
    write(&client).await.expect_err("a certificate that has expired");
    site.files.identity(&trust.clients.issue("etcd-prism"));
    wait::until("the new certificate to be used", async || write(&client).await).await;
}
