//! One holder at a time, in the order of arrival, whatever proxy they come through.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use etcd_prism_tests::etcdctl::Etcdctl;
use etcd_prism_tests::process::Signal;

use crate::site::{Site, grant, lock, put_leased, revoke, unlock, until_waiting};

/// On either shard.
const NAMES: [&str; 2] = ["/registry/pods/lock", "/registry/events/lock"];

#[tokio::test]
async fn one_holder_at_a_time_over_two_proxies() {
    let site = Site::start().await;
    let (held, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let mut tasks = Vec::new();
    for i in 0..8 {
        let (client, held, rounds) = (site.clients()[i % 2].clone(), held.clone(), rounds.clone());
        tasks.push(tokio::spawn(async move {
            let lease = grant(&client, 600).await;
            for _ in 0..10 {
                let key = lock(&client, NAMES[1], lease).await.expect("the lock").key;
                assert!(!held.swap(true, Ordering::SeqCst), "two hold it");
                // Others get a chance to go wrong.
                put_leased(&client, "/registry/events/work", lease).await.expect("work under the lock");
                rounds.fetch_add(1, Ordering::SeqCst);
                assert!(held.swap(false, Ordering::SeqCst));
                unlock(&client, &key).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("a client");
    }
    assert_eq!(rounds.load(Ordering::SeqCst), 80);
    assert!(until_waiting(&site.proxies[0].client(), NAMES[1], 0).await.is_empty());
}

#[tokio::test]
async fn it_goes_to_whoever_waits_longest() {
    let site = Site::start().await;
    for name in NAMES {
        let clients = site.clients();
        let mut lease = Vec::new();
        for i in 0..4 {
            lease.push(grant(&clients[i % 2], 600).await);
        }
        let mut key = lock(&clients[0], name, lease[0]).await.expect("the lock").key;
        let mut waiters = Vec::new();
        for i in 1..4 {
            let (client, lease) = (clients[i % 2].clone(), lease[i]);
            waiters.push(tokio::spawn(async move { lock(&client, name, lease).await }));
            until_waiting(&clients[0], name, i + 1).await;
        }
        for (i, waiter) in waiters.into_iter().enumerate() {
            let line = until_waiting(&clients[0], name, 3 - i + 1).await;
            assert_eq!(line[0].key, key, "the oldest key holds it");
            assert!(!waiter.is_finished());
            unlock(&clients[i % 2], &key).await;
            let reply = waiter.await.expect("a task").expect("the lock");
            assert_eq!(reply.key, format!("{name}/{:x}", lease[i + 1]));
            key = reply.key;
        }
        unlock(&clients[0], &key).await;
    }
}

#[tokio::test]
async fn a_holder_whose_lease_ends_is_followed() {
    let site = Site::start().await;
    let [one, two] = site.clients();
    for name in NAMES {
        // By expiry, and by revoke.
        for ttl in [2, 600] {
            let (short, long) = (grant(&one, ttl).await, grant(&two, 600).await);
            lock(&one, name, short).await.expect("the lock");
            let client = two.clone();
            let next = tokio::spawn(async move { lock(&client, name, long).await });
            if ttl > 2 {
                until_waiting(&two, name, 2).await;
                revoke(&two, short).await.expect("a revoke");
            }
            let key = next.await.expect("a task").expect("the lock").key;
            assert_eq!(until_waiting(&one, name, 1).await[0].key, key);
            unlock(&two, &key).await;
        }
    }
}

/// etcd's own client library, which uses leases, watches and transactions, and the service: they are one queue.
#[tokio::test]
async fn etcdctl_and_the_service_exclude_each_other() {
    let site = Site::start().await;
    let etcdctl = Etcdctl::new(&site.proxies[1].endpoint(), &site.scratch);
    let client = site.proxies[0].client();
    for name in NAMES {
        let lease = grant(&client, 600).await;
        let key = lock(&client, name, lease).await.expect("the lock").key;
        let mut other = etcdctl.start(&["lock", name]);
        until_waiting(&client, name, 2).await;
        assert_eq!(other.printed(), "", "both hold the lock");
        unlock(&client, &key).await;
        other.wait_for("its key", |text| text.starts_with(name) && text.ends_with('\n')).await;
        let waiter = client.clone();
        let again = tokio::spawn(async move { lock(&waiter, name, lease).await });
        until_waiting(&client, name, 2).await;
        other.process.signal(Signal::INT);
        let key = again.await.expect("a task").expect("the lock").key;
        unlock(&client, &key).await;
    }
}
