//! SIGTERM: what is in flight finishes, watches end so that clients resume, and the proxy is gone within its bound.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{WatchRequest, watch_request::RequestUnion};
use etcd_prism_tests::fake_shard::{FakeCall, empty_range};
use etcd_prism_tests::raw::{RawConnection, frame, request};
use etcd_prism_tests::request::{get, watch_prefix};
use etcd_prism_tests::wait;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::rig::Rig;

const RANGE: &str = "/etcdserverpb.KV/Range";

/// A shard that answers reads of `/registry/pods/slow` when it is let.
async fn rig(drain: &str) -> (Rig, mpsc::UnboundedReceiver<()>, watch::Sender<bool>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let (release, released) = watch::channel(false);
    let change = |builder: etcd_prism_tests::proxy::ProxyBuilder| {
        builder.listen_extra(&format!("drain_timeout = {drain:?}\n"))
    };
    let rig = Rig::start("request_timeout = \"5m\"", change, move |mut call: FakeCall| {
        let (arrived, mut released) = (arrived.clone(), released.clone());
        async move {
            if call.path().ends_with("Watch") {
                call.cancelled().await;
                return;
            }
            let message = call.message().await;
            if message.ends_with(b"/slow") {
                arrived.send(()).ok();
                released.wait_for(|released| *released).await.ok();
            }
            call.reply(&empty_range(5));
        }
    })
    .await;
    (rig, arrivals, release)
}

#[tokio::test]
async fn requests_in_flight_finish_and_everything_else_ends() {
    let (mut rig, mut arrivals, release) = rig("60s").await;
    let (busy, busy_task) = RawConnection::connect_with(&rig.address(), 1 << 20).await;
    let (idle, idle_task) = RawConnection::connect_with(&rig.address(), 1 << 20).await;
    assert!(idle.call(RANGE, &get("/registry/pods/a").encode_to_vec()).await.is_ok());
    let mut slow = busy.open(request(RANGE)).await.expect("a stream");
    slow.send(frame(&get("/registry/pods/slow").encode_to_vec()), true);
    arrivals.recv().await.expect("the slow request at the shard");
    let mut watch = busy.open(request("/etcdserverpb.Watch/Watch")).await.expect("a stream");
    let create = etcd_prism_proto::etcdserverpb::WatchCreateRequest {
        start_revision: 3,
        ..watch_prefix("/registry/pods/")
    };
    watch.send(
        frame(&WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec()),
        false,
    );
    let keep_alive = busy.open(request("/etcdserverpb.Lease/LeaseKeepAlive")).await.expect("a stream");

    rig.proxy.terminate();
    for stream in [watch, keep_alive] {
        let answer = stream.finish().await;
        assert_eq!(answer.status().map(|(code, _)| code), Some(14), "{answer:?}");
    }
    // A connection without requests is closed in good order, and no new one is taken.
    let end = tokio::time::timeout(wait::DEADLINE, idle_task).await.expect("the idle connection ends");
    assert!(end.expect("its task").is_ok());
    wait::until("the port to be closed", async || match TcpStream::connect(rig.address()).await {
        Ok(_) => Err("connected"),
        Err(_) => Ok(()),
    })
    .await;
    // The connection says goodbye: no new request, but the one under way has its answer.
    let refused = busy.call(RANGE, &get("/registry/pods/a").encode_to_vec()).await;
    assert!(refused.error.is_some(), "a request after GOAWAY: {refused:?}");
    release.send(true).expect("the shard lives");
    let answer = slow.finish().await;
    assert!(answer.is_ok(), "{answer:?}");
    let end = tokio::time::timeout(wait::DEADLINE, busy_task).await.expect("the busy connection ends");
    assert!(end.expect("its task").is_ok());
    let status = rig.proxy.stop().await;
    assert!(status.success(), "{status}");
}

/// A request that never ends does not keep the proxy: it exits within its bound, in good order.
#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    const DRAIN: Duration = Duration::from_millis(500);
    let (mut rig, mut arrivals, _release) = rig("500ms").await;
    let connection = rig.connect().await;
    let mut slow = connection.open(request(RANGE)).await.expect("a stream");
    slow.send(frame(&get("/registry/pods/slow").encode_to_vec()), true);
    arrivals.recv().await.expect("the slow request at the shard");
    let start = tokio::time::Instant::now();
    let status = rig.proxy.stop().await;
    println!("gone after {:?}", start.elapsed());
    assert!(status.success(), "{status}");
    // The bound, and what a busy machine may add: far below the five minutes that the request would take.
    assert!(start.elapsed() < DRAIN + Duration::from_secs(10));
    let answer = slow.finish().await;
    assert!(!answer.is_ok(), "{answer:?}");
}
