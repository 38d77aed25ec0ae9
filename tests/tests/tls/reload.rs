//! Files that change under load: no connection ends, new ones get the new certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{WatchRequest, watch_request::RequestUnion};
use etcd_prism_tests::raw::{RawConnection, frame, request};
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::wait;
use prost::Message;
use rustls::pki_types::CertificateDer;
use tokio::task::JoinHandle;

use crate::certs::Authority;
use crate::client::{Dialler, works};
use crate::mutual::Site;

const CONNECTIONS: usize = 8;

/// Requests on connections that were open before anything changed. Any error is one too many.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(site: &Site) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = Vec::new();
        for index in 0..CONNECTIONS {
            let (connection, _) = site.dialler().connect(&site.address()).await.expect("a connection");
            let (stop, done) = (stop.clone(), done.clone());
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    works(&connection, &format!("/registry/pods/load-{index}"))
                        .await
                        .expect("a connection that goes on");
                    done.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            }));
        }
        Self { stop, done, tasks }
    }

    /// Waits until some more requests were answered.
    async fn goes_on(&self) {
        let goal = self.done.load(Ordering::Relaxed) + 50;
        wait::until("the load to go on", async || {
            let done = self.done.load(Ordering::Relaxed);
            if done >= goal { Ok(()) } else { Err(done) }
        })
        .await;
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a task of the load");
        }
        self.done.load(Ordering::Relaxed)
    }
}

/// The certificate that a new connection is shown.
async fn shown(dialler: &Dialler, address: &str) -> Result<CertificateDer<'static>, String> {
    dialler.connect(address).await.map(|(_, certificate)| certificate)
}

/// A watch that stays open, and the bytes of its answers so far.
async fn open_watch(connection: &RawConnection) -> (h2::RecvStream, h2::SendStream<Bytes>) {
    let mut stream = connection.open(request("/etcdserverpb.Watch/Watch")).await.expect("a stream");
    let create = RequestUnion::CreateRequest(watch_prefix("/registry/pods/watched"));
    stream.send(frame(&WatchRequest { request_union: Some(create) }.encode_to_vec()), false);
    let (_, mut body, sender) = stream.head().await.expect("an answer");
    let created = body.data().await.expect("data").expect("created");
    body.flow_control().release_capacity(created.len()).expect("capacity");
    (body, sender)
}

#[tokio::test]
async fn certificates_change_without_a_connection_lost() {
    const ROUNDS: usize = 3;
    let site = Site::start(&[]).await;
    site.topology.proxy.expect_log("TLS files changed and cannot be used");
    let (address, dialler) = (site.address(), site.dialler());
    let (watching, first) = dialler.connect(&address).await.expect("a connection");
    assert_eq!(first, site.identity.certificate());
    let (mut watch, _sender) = open_watch(&watching).await;
    let load = Load::start(&site).await;
    for round in 0..ROUNDS {
        load.goes_on().await;
        let next = site.servers.issue(&format!("proxy {round}"));
        site.files.identity(&next);
        wait::until("the new certificate", async || match shown(&dialler, &address).await {
            Ok(found) if found == next.certificate() => Ok(()),
            other => Err(other),
        })
        .await;
        // Files that cannot be used change nothing.
        site.files.write("tls.key", "no key at all");
        site.topology.proxy.wait_log("TLS files changed and cannot be used").await;
        load.goes_on().await;
        assert_eq!(shown(&dialler, &address).await, Ok(next.certificate()));
        site.files.identity(&next);
    }
    println!(
        "{} rounds of requests on {CONNECTIONS} connections while certificates changed {ROUNDS} times",
        load.stop().await
    );
    // The watch from before all that is still there.
    works(&watching, "/registry/pods/watched").await.expect("the first connection");
    let event = tokio::time::timeout(wait::DEADLINE, watch.data()).await.expect("an event in time");
    assert!(!event.expect("the stream is open").expect("an event").is_empty());
}

/// The authority of clients changes: new connections are judged by the new one, open ones go on.
#[tokio::test]
async fn the_authority_of_clients_changes_without_a_connection_lost() {
    let site = Site::start(&[]).await;
    let (address, old) = (site.address(), site.dialler());
    let successors = Authority::new("clients, renewed");
    let new = Dialler::new(&site.servers, Some(&successors.issue("apiserver")));
    shown(&new, &address).await.expect_err("an authority that is not trusted yet");
    let load = Load::start(&site).await;
    // Both for a time, as one does it.
    site.files.write("clients.crt", &[site.clients.pem(), successors.pem()].concat());
    wait::until("the new authority to be trusted", async || shown(&new, &address).await).await;
    shown(&old, &address).await.expect("the old one too");
    site.files.write("clients.crt", &successors.pem());
    wait::until("the old authority not to be trusted", async || match shown(&old, &address).await {
        Ok(_) => Err("let in"),
        Err(_) => Ok(()),
    })
    .await;
    shown(&new, &address).await.expect("the new one");
    load.goes_on().await;
    println!("{} rounds of requests meanwhile", load.stop().await);
}
