//! Clients that stop waiting, and proxies and shards that stop, leave no key behind that others would wait for.

use std::time::Duration;

use etcd_prism_proto::v3lockpb::LockRequest;
use etcd_prism_tests::raw::{self, RawConnection};
use etcd_prism_tests::wait;
use prost::Message;
use tonic::Code;

use crate::site::{Site, code_and_text, grant, lock, revoke, unlock, until_waiting, waiting};

const NAME: &str = "/registry/events/lock";

#[tokio::test]
async fn a_client_that_goes_while_it_waits_is_passed_over() {
    let site = Site::start().await;
    let [one, two] = site.clients();
    let lease = [grant(&one, 600).await, grant(&two, 600).await, grant(&one, 600).await];
    let held = lock(&one, NAME, lease[0]).await.expect("the lock").key;
    // One that cancels its call, and one whose connection breaks.
    for waiter in [two.clone(), site.proxies[1].client()] {
        let waits = tokio::spawn({
            let lease = lease[1];
            async move { lock(&waiter, NAME, lease).await }
        });
        until_waiting(&one, NAME, 2).await;
        waits.abort();
        let left = until_waiting(&one, NAME, 1).await;
        assert_eq!(left[0].key, held, "the holder's key stays");
    }
    let client = one.clone();
    let last = lease[2];
    let next = tokio::spawn(async move { lock(&client, NAME, last).await });
    until_waiting(&one, NAME, 2).await;
    unlock(&one, &held).await;
    next.await.expect("a task").expect("the lock");
}

/// The proxy that the client left gets round to it late. If it deleted the session's key as such, it would take away what the
/// second call has: the lock, for two to hold, or the place in the queue.
#[tokio::test]
async fn a_call_that_goes_takes_nothing_from_the_next_of_its_session() {
    let mut site = Site::start().await;
    let [one, two] = site.clients();
    let lease = [grant(&one, 600).await, grant(&one, 600).await];
    let held = lock(&one, NAME, lease[0]).await.expect("the lock").key;
    let waiter = two.clone();
    let waits = tokio::spawn(async move { lock(&waiter, NAME, lease[1]).await });
    let line = until_waiting(&one, NAME, 2).await;
    site.pause_proxy(1).await;
    waits.abort();
    assert!(waits.await.expect_err("a call that was cancelled").is_cancelled());
    let client = one.clone();
    let again = tokio::spawn(async move { lock(&client, NAME, lease[1]).await });
    wait::until("the second call", async || {
        let now = waiting(&one, NAME).await;
        assert_eq!(now[1].create_revision, line[1].create_revision, "it keeps its place");
        if now[1].mod_revision > line[1].mod_revision { Ok(()) } else { Err(now) }
    })
    .await;
    site.proxies[1].resume();
    // On the connection of the call that went: the proxy meets its reset before these.
    for _ in 0..20 {
        assert_eq!(waiting(&two, NAME).await.len(), 2, "its key was taken back");
    }
    unlock(&one, &held).await;
    let key = again.await.expect("a task").expect("the lock").key;
    assert_eq!(until_waiting(&one, NAME, 1).await[0].key, key);
}

/// The proxy keeps the client's deadline itself: one that only waits may never say that it has gone.
#[tokio::test]
async fn a_deadline_ends_the_wait_with_etcds_error() {
    let site = Site::start().await;
    let client = site.proxies[0].client();
    let (first, second) = (grant(&client, 600).await, grant(&client, 600).await);
    let held = lock(&client, NAME, first).await.expect("the lock").key;
    let address = site.proxies[1].endpoint().replace("http://", "");
    let connection = RawConnection::connect(&address).await;
    let mut request = raw::request("/v3lockpb.Lock/Lock");
    request.headers_mut().insert("grpc-timeout", "700m".parse().expect("a value"));
    let message = LockRequest { name: NAME.into(), lease: second }.encode_to_vec();
    let answer = connection.exchange(request, raw::frame(&message)).await;
    assert_eq!(answer.status(), Some((4, "context deadline exceeded".to_owned())), "{answer:?}");
    // The answer comes after the key was taken back.
    let left = until_waiting(&client, NAME, 1).await;
    assert_eq!(left[0].key, held);
}

#[tokio::test]
async fn a_session_that_ends_while_it_waits_gets_no_lock() {
    let site = Site::start().await;
    let [one, two] = site.clients();
    let (first, second) = (grant(&one, 600).await, grant(&two, 600).await);
    let held = lock(&one, NAME, first).await.expect("the lock").key;
    let waiter = two.clone();
    let waits = tokio::spawn(async move { lock(&waiter, NAME, second).await });
    until_waiting(&one, NAME, 2).await;
    revoke(&one, second).await.expect("a revoke");
    until_waiting(&one, NAME, 1).await;
    unlock(&one, &held).await;
    let refused = waits.await.expect("a task").expect_err("its key is gone");
    assert_eq!(code_and_text(&refused), (Code::Unknown, "mutex: session is expired"));
}

#[tokio::test]
async fn a_proxy_that_drains_takes_its_waiters_keys_back() {
    let mut site = Site::start().await;
    let [one, two] = site.clients();
    let (first, second) = (grant(&one, 600).await, grant(&two, 600).await);
    let held = lock(&one, NAME, first).await.expect("the lock").key;
    let waits = tokio::spawn(async move { lock(&two, NAME, second).await });
    until_waiting(&one, NAME, 2).await;
    let status = site.proxies[1].stop().await;
    assert!(status.success(), "{status}");
    let told = waits.await.expect("a task").expect_err("the proxy has stopped");
    assert_eq!(code_and_text(&told), (Code::Unavailable, "etcdserver: server stopped"));
    assert_eq!(until_waiting(&one, NAME, 1).await[0].key, held);
}

#[tokio::test]
async fn a_wait_survives_its_shard() {
    let mut site = Site::start().await;
    site.expect_faults_of("b");
    let [one, two] = site.clients();
    let (first, second) = (grant(&one, 600).await, grant(&two, 600).await);
    let held = lock(&one, NAME, first).await.expect("the lock").key;
    let waiter = two.clone();
    let mut waits = tokio::spawn(async move { lock(&waiter, NAME, second).await });
    until_waiting(&one, NAME, 2).await;
    for round in 0..2 {
        if round == 1 {
            // For longer than a request waits.
            site.shard("b").kill();
            let read = two.kv().range(etcd_prism_tests::request::get(&held)).await;
            assert_eq!(read.expect_err("a shard that is down").code(), Code::Unavailable);
        }
        site.shard("b").restart().await;
        // The waiter's stream broke; the holder holds.
        wait::until("the shard, through a proxy", async || {
            one.kv().range(etcd_prism_tests::request::get(&held)).await.map(drop)
        })
        .await;
        let early = tokio::time::timeout(Duration::from_millis(500), &mut waits).await;
        assert!(early.is_err(), "round {round}: {early:?}");
    }
    unlock(&one, &held).await;
    waits.await.expect("a task").expect("the lock");
}
