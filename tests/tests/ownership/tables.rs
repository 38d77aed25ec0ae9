//! Two configurations that differ in one prefix.

use etcd_prism_control::RouteState;
use etcd_prism_tests::client::Client;
use etcd_prism_tests::proxy::Proxy;
use etcd_prism_tests::request::put;
use etcd_prism_tests::wait;

use crate::site::{NODES, PODS, Routes, Site, ownership, until_refused, until_served};

const EVENTS: &str = "/registry/events/";
/// `rest` has the nodes.
const ONE: Routes = &[("pods", &[PODS], "a"), ("events", &[EVENTS], "b"), ("rest", &[], "b")];
/// `pods` has them, on another shard.
const OTHER: Routes = &[("pods", &[PODS, NODES], "a"), ("events", &[EVENTS], "b"), ("rest", &[], "b")];

/// The naive version lets each proxy create what it does not find: both do, and one key is written on two shards.
#[tokio::test]
async fn of_two_tables_started_at_once_one_serves_the_prefix() {
    for _ in 0..3 {
        let site = Site::start(&["a", "b"]).await;
        let mut proxies = [site.early("one", ONE), site.early("other", OTHER)];
        // Whoever is first: clients of both write from the start.
        let writes: Vec<_> = proxies.iter().map(|proxy| tokio::spawn(write(proxy.client()))).collect();
        let winner = wait::until("one of them to serve", async || {
            for (i, proxy) in proxies.iter().enumerate() {
                if serves_all(proxy).await? {
                    return Ok(i);
                }
            }
            Err("none does".to_owned())
        })
        .await;
        for route in ["pods", "rest"] {
            until_refused(&proxies[1 - winner], route, "route apply").await;
        }
        for proxy in &proxies {
            until_served(proxy, "events").await;
            proxy
                .client()
                .kv()
                .put(put("/registry/events/x", "1"))
                .await
                .expect("a write on a route that is the same");
        }
        wait::until("writes of the winner's clients", async || match writes[winner].is_finished() {
            true => Ok(()),
            false => Err(()),
        })
        .await;
        writes[1 - winner].abort();
        one_place(&site, ["b", "a"][winner]).await;
        // Both once more, now that there are fences: nothing else comes of it.
        for proxy in &mut proxies {
            proxy.kill();
        }
        drop(proxies);
        let [one, other] = [site.early("again-one", ONE), site.early("again-other", OTHER)];
        let (winning, losing) = if winner == 0 { (&one, &other) } else { (&other, &one) };
        until_refused(losing, "pods", "route apply").await;
        until_served(winning, "pods").await;
        until_served(losing, "events").await;
        let refused =
            losing.client().kv().put(put("/registry/nodes/late", "1")).await.expect_err("a refusal");
        assert!(refused.message().contains("refused"), "{refused:?}");
        one_place(&site, ["b", "a"][winner]).await;
    }
}

/// Writes below the prefix until a good many writes were acknowledged.
async fn write(client: Client) {
    let mut acknowledged = 0;
    for i in 0.. {
        if client.kv().put(put(&format!("{NODES}{i}"), "1")).await.is_ok() {
            acknowledged += 1;
            if acknowledged == 20 {
                return;
            }
        } else {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

async fn serves_all(proxy: &Proxy) -> Result<bool, String> {
    Ok(ownership(proxy).await?.routes.iter().all(|route| route.state == RouteState::Served))
}

/// Everything that was written is on one shard.
async fn one_place(site: &Site, shard: &str) {
    for name in ["a", "b"] {
        let count = site.held(name, NODES).await.kvs.len();
        let expected = if name == shard { 20 } else { 0 };
        assert_eq!(count, expected, "keys of the prefix on {name}");
    }
}
