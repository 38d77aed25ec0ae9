//! Processes that are killed (SIGKILL), again and again.

use etcd_prism_tests::proxy::Proxy;

use crate::cli;
use crate::load::Load;
use crate::site::{NODES, PODS, SPLIT, Site, TWO, ownership, until_refused, until_served};

/// The naive version sends a write again whose answer the dead proxy has taken along, or acknowledges before the shard does.
#[tokio::test]
async fn a_proxy_that_dies_five_times_loses_nothing() {
    let site = Site::start(&["a", "b"]).await;
    let mut one = site.proxy("one", TWO).await;
    let two = site.proxy("two", TWO).await;
    let load = Load::start(&[("one", &one), ("two", &two)], &[], &[PODS, NODES]).await;
    for _ in 0..5 {
        load.goes_on(&["one"], &[PODS, NODES]).await;
        one.kill();
        load.goes_on(&["two"], &[PODS, NODES]).await;
        one.restart().await;
    }
    load.goes_on(&["one", "two"], &[PODS, NODES]).await;
    assert_eq!(load.tally.errors("two"), Vec::<String>::new(), "the other proxy is not concerned");
    load.end(&[(PODS, site.direct("a")), (NODES, site.direct("b"))]).await;
}

/// The naive version keeps the state of a change in the memory of whoever drives it: routes stay sealed, or open twice.
#[tokio::test]
async fn a_change_whose_driver_dies_is_finished_by_the_next() {
    let site = Site::start(&["a", "b"]).await;
    let old = site.proxy("old", TWO).await;
    let new = site.early("new", SPLIT);
    old.expect_log("route is refused");
    let load = Load::start(&[("old", &old)], &[("new", &new)], &[PODS, NODES]).await;
    let mut died = 0;
    for round in 0..6 {
        let (file, serves, refused): (_, _, &Proxy) =
            if round % 2 == 0 { ("new", &new, &old) } else { ("old", &old, &new) };
        died += usize::from(cli::apply_and_die(&site, file, round + 1).await);
        cli::apply(&site, file).await;
        for route in ["pods", "rest"] {
            until_served(serves, route).await;
        }
        until_refused(refused, "rest", "route apply").await;
        load.goes_on(&[file], &[PODS, NODES]).await;
        // Nobody serves what the other does.
        let routes = ownership(refused).await.expect("a status").routes;
        let served = routes.iter().filter(|route| route.reason.is_none()).map(|route| &route.name[..]);
        assert_eq!(served.collect::<Vec<_>>(), ["pods"], "{routes:?}");
    }
    assert!(died > 0, "no driver died on its way");
    load.goes_on(&["old", "new"], &[PODS]).await;
    load.end(&[(PODS, site.direct("a")), (NODES, site.direct("b"))]).await;
}
