//! A shard that comes back from yesterday's backup, under its old name, address and cluster id.

use etcd_prism_tests::proxy::Proxy;
use etcd_prism_tests::request::{get, put};
use etcd_prism_tests::scratch::copy_folder;
use etcd_prism_tests::wait;
use tonic::Code;

use crate::cli;
use crate::site::{Site, TWO, until_refused, until_served, until_session, until_shard};

const BACKUP: &str = "backup";

/// Proxies that serve shard `a`, which then goes back to before the last 50 writes.
async fn restored(names: &[&'static str]) -> (Site, Vec<Proxy>) {
    let mut site = Site::start(&["a", "b"]).await;
    let mut proxies = Vec::new();
    for name in names {
        let proxy = site.proxy(name, TWO).await;
        for words in ["route is refused", "the first fences are not created yet", "not reached yet"] {
            proxy.expect_log(words);
        }
        until_served(&proxy, "pods").await;
        proxies.push(proxy);
    }
    proxies[0].client().kv().put(put("/registry/pods/x", "old")).await.expect("a write");
    let (data, backup) = (site.scratch.data("a-0"), site.scratch.path().join(BACKUP));
    site.shard("a").kill();
    copy_folder(&data, &backup);
    site.shard("a").restart().await;
    wait::until("a write", async || proxies[0].client().kv().put(put("/registry/pods/x", "new")).await).await;
    for _ in 0..50 {
        proxies[0].client().kv().put(put("/registry/pods/x", "new")).await.expect("a write");
    }
    // A session begins with a look at the shard: whoever has a new one knows of these writes.
    site.shard("a").kill();
    for proxy in &proxies {
        until_shard(proxy, "a", "no session", |shard| !shard.session).await;
    }
    site.shard("a").restart().await;
    for proxy in &proxies {
        until_session(proxy, "a").await;
    }
    site.shard("a").kill();
    std::fs::remove_dir_all(&data).expect("old data");
    copy_folder(&backup, &data);
    site.shard("a").restart().await;
    (site, proxies)
}

/// The naive version trusts whatever answers at the address: acknowledged writes are gone, and caches are ahead of it.
#[tokio::test]
async fn a_restored_shard_is_refused_until_it_is_accepted() {
    let (site, proxies) = restored(&["one", "two"]).await;
    for proxy in &proxies {
        let reason = until_refused(proxy, "pods", "restored from a backup").await;
        assert!(reason.contains("shard accept"), "{reason}");
        let refused = proxy.client().kv().range(get("/registry/pods/x")).await.expect_err("no old answer");
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        let refused = proxy.client().kv().put(put("/registry/pods/y", "1")).await.expect_err("no write");
        assert!(refused.message().contains("restored from a backup"), "{refused:?}");
        until_served(proxy, "rest").await;
        proxy.client().kv().put(put("/registry/other", "1")).await.expect("a write elsewhere");
    }
    let ran = cli::run(&["shard", "accept", "a", "--yes"], &site.file_of("one")).await;
    assert!(ran.success && ran.out.contains("identity"), "{ran:?}");
    for proxy in &proxies {
        until_served(proxy, "pods").await;
        let found = proxy.client().kv().range(get("/registry/pods/x")).await.expect("a read").into_inner();
        assert_eq!(found.kvs[0].value, "old");
        proxy.client().kv().put(put("/registry/pods/y", "1")).await.expect("a write");
    }
}

/// The naive version keeps what it knows to itself: a restart forgets it, and the old data is served after all.
#[tokio::test]
async fn a_restored_shard_is_refused_by_a_proxy_that_was_restarted() {
    let (_site, mut proxies) = restored(&["one", "two"]).await;
    for proxy in &proxies {
        until_refused(proxy, "pods", "restored from a backup").await;
    }
    // The other one goes on, and knows what it has seen.
    proxies[1].restart().await;
    until_session(&proxies[1], "b").await;
    let read = proxies[1].client().kv().range(get("/registry/pods/x")).await;
    assert!(read.is_err(), "old data is served: {read:?}");
    until_refused(&proxies[0], "pods", "restored from a backup").await;
}
