//! Rule 9: what ends a stream, and what does not.

use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::request::watch_prefix;
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_check::{WatcherLog, header_revision};
use etcd_prism_tests::watch_stream::{WatchEnd, WatchStream};
use tonic::Code;

use crate::on_both;
use crate::site::{Site, prefix_of, read_until, topology, write};

on_both!(a_half_closed_stream_goes_on);

async fn a_half_closed_stream_goes_on(site: &Site) {
    const WRITES: usize = 20;
    let client = site.client();
    let mut stream = WatchStream::open(&client);
    let mut log = WatcherLog::new(watch_prefix(prefix_of("pods")));
    let from = header_revision(&stream.create(log.request.clone()).await) + 1;
    stream.half_close();
    let mut last = 0;
    for _ in 0..WRITES {
        last = write(&client, "pods", "a", b"1").await;
    }
    read_until(&mut stream, &mut log, last).await;
    site.verify("pods", &log, from, last).await;
}

/// A proxy that goes away in good order ends watches so that clientv3 resumes them, and exits with success.
#[tokio::test]
async fn a_stopping_proxy_ends_watches_with_unavailable() {
    let mut topology = topology().await;
    let mut streams = Vec::new();
    for route in ["pods", "rest"] {
        let mut stream = WatchStream::open(&topology.client());
        stream.create(watch_prefix(prefix_of(route))).await;
        streams.push(stream);
    }
    topology.proxy.terminate();
    for mut stream in streams {
        match stream.wait_for_end().await {
            WatchEnd::Status(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            end => panic!("{end}"),
        }
    }
    let status = topology.proxy.stop().await;
    assert!(status.success(), "{status}");
}

/// A proxy that dies: the client resumes at the revision after the last that it saw, on the next one, and misses nothing.
#[tokio::test]
async fn a_watch_resumes_after_the_proxy_was_killed() {
    const ROUNDS: usize = 3;
    let mut site = Site::proxy().await;
    let client = site.client();
    let mut log = WatcherLog::new(watch_prefix(prefix_of("pods")));
    let mut from = 0;
    for round in 0..ROUNDS {
        let mut stream = WatchStream::open(&client);
        let mut request = log.request.clone();
        request.start_revision = if round == 0 { 0 } else { log.next_revision() };
        let created = stream.create(request).await;
        if round == 0 {
            from = header_revision(&created) + 1;
        }
        let mut last = 0;
        for _ in 0..20 {
            last = write(&client, "pods", "a", b"1").await;
        }
        read_until(&mut stream, &mut log, last).await;
        // Written, and not read by this stream.
        write(&client, "pods", "b", b"1").await;
        let Site::Proxy(topology) = &mut site else { unreachable!("a site with a proxy") };
        topology.proxy.kill();
        assert!(!matches!(stream.wait_for_end().await, WatchEnd::Eof), "clientv3 does not resume after EOF");
        topology.proxy.restart().await;
    }
    let mut stream = WatchStream::open(&client);
    let mut request = log.request.clone();
    request.start_revision = log.next_revision();
    stream.create(request).await;
    let last = write(&client, "pods", "c", b"1").await;
    read_until(&mut stream, &mut log, last).await;
    site.verify("pods", &log, from, last).await;
}

/// A shard without a leader ends a stream that asks for one, but only where all its watchers are on that shard.
#[tokio::test]
async fn lack_of_a_leader_ends_only_streams_that_are_on_that_shard_alone() {
    let shard = |name: &str| EtcdBuilder::new(name).members(if name == "pods" { 3 } else { 1 });
    let mut topology = Topology::start_with(Layout::four_shards(), shard, |proxy| proxy).await;
    topology.proxy.expect_log("pods");
    let client = topology.client();
    let mut alone = WatchStream::open_with_leader(&client);
    alone.create(watch_prefix(prefix_of("pods"))).await;
    let mut mixed = WatchStream::open_with_leader(&client);
    let mut log = WatcherLog::new(watch_prefix(prefix_of("pods")));
    let pods = mixed.create(log.request.clone()).await;
    let rest = mixed.create(watch_prefix(prefix_of("rest"))).await.watch_id;
    let written = write(&client, "pods", "a", b"1").await;
    read_until(&mut mixed, &mut log, written).await;
    for member in &mut topology.shard("pods").members()[1..] {
        member.kill();
    }
    match alone.wait_for_end().await {
        WatchEnd::Status(status) => {
            assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
        }
        end => panic!("{end}"),
    }
    write(&client, "rest", "a", b"1").await;
    let response = mixed.next().await;
    assert!(response.watch_id == rest && response.events.len() == 1, "{response:?}");
    topology.shard("pods").restart().await;
    let written = wait::until("a write to pods", async || {
        let put = etcd_prism_tests::request::put(&[prefix_of("pods"), "b"].concat(), "2");
        client.kv().put(put).await.map(|reply| header(reply.into_inner().header))
    })
    .await;
    read_until(&mut mixed, &mut log, written).await;
    assert!(log.responses.iter().all(|response| response.watch_id == pods.watch_id), "{:?}", log.responses);
    let site = Site::Proxy(Box::new(topology));
    site.verify("pods", &log, header_revision(&pods) + 1, written).await;
}

fn header(header: Option<etcd_prism_proto::etcdserverpb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}
