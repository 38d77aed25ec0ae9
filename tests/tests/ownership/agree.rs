//! Several proxies over the same shards, nothing being wrong.

use etcd_prism_tests::proxy::Proxy;

use crate::load::Load;
use crate::site::{NODES, PODS, Site, TWO};

/// The naive version caches, or answers from a lagging member: another proxy's acknowledged write is not seen.
#[tokio::test]
async fn two_proxies_are_as_one() {
    agree(&["one", "two"]).await;
}

/// The naive version lets the last writer win: increments through three proxies are lost.
#[tokio::test]
async fn three_proxies_are_as_one() {
    agree(&["one", "two", "three"]).await;
}

async fn agree(names: &[&'static str]) {
    let site = Site::start(&["a", "b"]).await;
    let mut proxies = Vec::new();
    for name in names {
        proxies.push(site.proxy(name, TWO).await);
    }
    let named: Vec<(&str, &Proxy)> = names.iter().copied().zip(&proxies).collect();
    let load = Load::start(&named, &[], &[PODS, NODES]).await;
    for _ in 0..10 {
        load.goes_on(names, &[PODS, NODES]).await;
    }
    load.watches_go_on(names, &[PODS, NODES]).await;
    for name in names {
        assert_eq!(load.tally.errors(name), Vec::<String>::new(), "through {name}");
    }
    load.end(&[(PODS, site.direct("a")), (NODES, site.direct("b"))]).await;
}
