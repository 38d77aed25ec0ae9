//! The same random trace against one etcd and against the proxy: replies must agree in code, text and content, revisions by
//! an order-preserving map for each route, lease ids by any map.
//!
//! `DIFFERENTIAL_SEED` replays a trace and `DIFFERENTIAL_OPERATIONS` sets its length. Every count is printed, and an
//! option or error of `required.rs` that was never hit fails the run.

mod call;
mod compaction;
mod compare;
mod coverage;
mod episode;
mod errors;
mod fault;
mod generate;
mod generate_txn;
mod keys;
mod required;
mod revisions;
mod run;
mod spanning;
mod state;
mod touch;
mod translate;
mod watch_requests;

use std::sync::Arc;

use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::tools::Version;
use etcd_prism_tests::topology::Topology;

use crate::fault::Fault;
use crate::required::Required;
use crate::run::{Run, Setup};

/// Long enough that everything in `required.rs` comes up many times. The pairings beside the main one get half.
const OPERATIONS: u64 = 20_000;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn setup(reference: Client, subject: Client, layout: Layout, version: Version, operations: u64) -> Setup {
    let newest = version == Version::Newest;
    Setup {
        reference,
        subject,
        required: Required::new(newest, layout.shards().len() > 1),
        layout,
        seed: from_env("DIFFERENTIAL_SEED").unwrap_or_else(rand::random),
        operations: from_env("DIFFERENTIAL_OPERATIONS").unwrap_or(operations),
        newest,
        fault: None,
    }
}

/// Runs the trace and prints what it hit; panics where the sides differ or something was not hit.
async fn must_agree(setup: Setup) {
    println!("DIFFERENTIAL_SEED={} DIFFERENTIAL_OPERATIONS={}", setup.seed, setup.operations);
    let required = setup.required.clone();
    let coverage = Run::trace(setup).await.unwrap_or_else(|error| panic!("{error}"));
    println!("{}", coverage.report());
    let missing = coverage.missing(&required);
    assert!(missing.is_empty(), "never hit: {missing:#?}");
}

async fn etcd(name: &str, version: Version, scratch: &Arc<Scratch>) -> etcd_prism_tests::etcd::EtcdCluster {
    EtcdBuilder::new(name).version(version).progress_interval(300).start(scratch).await
}

/// The comparison itself must not see differences where there are none.
#[tokio::test]
async fn one_etcd_agrees_with_another() {
    let scratch = Arc::new(Scratch::new());
    let reference = etcd("reference", Version::Newest, &scratch).await;
    let subject = etcd("subject", Version::Newest, &scratch).await;
    let (layout, version) = (Layout::single(), Version::Newest);
    must_agree(setup(reference.client(), subject.client(), layout, version, OPERATIONS / 2)).await;
}

/// And must see each difference that there is.
#[tokio::test]
async fn each_broken_reply_is_found() {
    let scratch = Arc::new(Scratch::new());
    let reference = etcd("reference", Version::Newest, &scratch).await;
    let subject = etcd("subject", Version::Newest, &scratch).await;
    for fault in Fault::ALL {
        let setup =
            setup(reference.client(), subject.client(), Layout::single(), Version::Newest, OPERATIONS);
        let setup = Setup { fault: Some(*fault), required: Required::default(), ..setup };
        match Run::trace(setup).await {
            Ok(_) => panic!("{fault:?} is not found"),
            Err(error) => println!("{fault:?}: {:.200}", error.lines().next().unwrap_or_default()),
        }
    }
}

#[tokio::test]
async fn four_shards_agree_with_one_etcd() {
    over(Layout::four_shards(), Version::Newest, OPERATIONS).await;
}

#[tokio::test]
async fn four_old_shards_agree_with_one_old_etcd() {
    over(Layout::four_shards(), Version::V3_5, OPERATIONS / 2).await;
}

/// Routes on one shard and one timeline: nothing spans.
#[tokio::test]
async fn four_routes_on_one_shard_agree_with_one_etcd() {
    over(Layout::single(), Version::Newest, OPERATIONS / 2).await;
}

async fn over(layout: Layout, version: Version, operations: u64) {
    let scratch = Arc::new(Scratch::new());
    let reference = etcd("reference", version, &scratch).await;
    let shard = |name: &str| EtcdBuilder::new(name).version(version).progress_interval(300);
    let topology = Topology::start_with(layout.clone(), shard, |proxy| proxy).await;
    must_agree(setup(reference.client(), topology.client(), layout, version, operations)).await;
}
