//! The admin listener over a real socket.

#![allow(clippy::unwrap_used, reason = "a failed expectation ends the test")]

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use etcd_prism_admin::report::Verdict;
use etcd_prism_config::{Endpoint, Scheme};
use etcd_prism_control::{Clock, Options};
use etcd_prism_frontend::compaction::Samples;
use etcd_prism_frontend::gateway::{Exposition, Limits};
use etcd_prism_frontend::metrics::Metrics;
use etcd_prism_frontend::{Gateway, Identity, dispatch, lease};
use etcd_prism_routing::{Keyspace, RouteSpec, ShardId};
use etcd_prism_upstream::endpoint::EndpointState;
use etcd_prism_upstream::shard::Bounds;
use etcd_prism_upstream::{ShardPool, ShardState};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A gateway of two shards that nobody ever contacted.
fn gateway() -> Arc<Gateway> {
    let prometheus = PrometheusBuilder::new().install_recorder().unwrap();
    let spec = |name: &str, prefixes: &[&str], shard| RouteSpec {
        name: name.to_owned(),
        prefixes: prefixes.iter().map(|p| p.as_bytes().to_vec()).collect(),
        shard: ShardId(shard),
    };
    let specs = [spec("pods", &["/registry/pods/"], 0), spec("rest", &[], 1)];
    let keyspace = Keyspace::new(&specs).unwrap();
    let bounds = Bounds { request_timeout: Duration::from_secs(1), max_in_flight: 10 };
    let shard = |(i, name): (u16, &str)| {
        let endpoint = Endpoint::from_address(Scheme::Http, ([127, 0, 0, 1], 1).into());
        let endpoint =
            EndpointState::new(endpoint, None, Duration::from_secs(1), Duration::from_secs(10)).unwrap();
        Arc::new(ShardState::new(ShardId(i), name.to_owned(), vec![Arc::new(endpoint)], bounds, None))
    };
    let limits = Limits { max_request_bytes: 1, max_message_bytes: 1, max_txn_ops: 1 };
    let shards: Vec<_> = [(0, "a"), (1, "b")].into_iter().map(shard).collect();
    let options = Options {
        fences: false,
        session_ttl: Duration::from_secs(10),
        name: "test".to_owned(),
        address: String::new(),
        clock: Clock::default(),
    };
    let pools = shards.iter().map(|shard| ShardPool::new(shard.clone())).collect();
    let ownership = etcd_prism_control::start(options, &keyspace, &specs, pools, CancellationToken::new());
    Arc::new(Gateway {
        identity: Identity::new("test", &["http://127.0.0.1:2379".to_owned()]),
        metrics: Metrics::new(&keyspace, dispatch::METHODS),
        samples: Samples::new(2),
        keyspace,
        ownership,
        shards,
        limits: ArcSwap::from_pointee(limits),
        leases: lease::Registry::default(),
        provenance: Default::default(),
        exposition: Exposition(Arc::new(move || prometheus.render())),
        tracer: Default::default(),
        draining: CancellationToken::new(),
    })
}

async fn get(address: &str, path: &str) -> (u16, String, String) {
    ask("GET", address, path).await
}

/// Status, content type and body.
async fn ask(method: &str, address: &str, path: &str) -> (u16, String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut requests, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let (head, body) = requests.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    let content_type = head.headers[http::header::CONTENT_TYPE].to_str().unwrap().to_owned();
    (head.status.as_u16(), content_type, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn everything_is_answered_before_first_contact() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cancel = CancellationToken::new();
    let gateway = gateway();
    let server = tokio::spawn(etcd_prism_admin::serve(listener, gateway.clone(), None, cancel.clone()));

    let report = etcd_prism_admin::fetch(&format!("http://{address}/")).await.unwrap();
    assert_eq!(report.proxy.member_id, format!("{:x}", gateway.identity.member_id));
    assert_eq!(report.routes[0].prefixes, ["/registry/pods/"]);
    assert_eq!((report.shards[1].name.as_str(), report.shards[1].home), ("b", true));
    assert_eq!(report.shards[0].support.verdict, Verdict::Unknown);
    // Two shards, and two routes without fences.
    assert_eq!(report.warnings.len(), 4, "{:?}", report.warnings);
    // What is printed as JSON is what was told.
    assert_eq!(
        serde_json::from_str::<etcd_prism_admin::StatusReport>(&report.to_json().unwrap()).unwrap(),
        report
    );

    assert_eq!(get(&address, "/livez").await.0, 200);
    let (code, _, body) = get(&address, "/readyz").await;
    assert_eq!(
        (code, body.as_str()),
        (
            503,
            "[-]home failed: shard b was not contacted yet\n[+]fence ok\n[+]draining ok\n[i]shard a unreachable\n[i]shard b unreachable\n\n"
        )
    );
    assert_eq!(get(&address, "/readyz?exclude=home").await.0, 200);
    assert_eq!(get(&address, "/health").await.0, 503);
    assert_eq!(get(&address, "/version").await.0, 503);
    assert_eq!(get(&address, "/debug/pprof").await.0, 404);
    assert_eq!(get(&address, "/readyz/nothing").await.0, 404);
    assert_eq!(get(&address, "/v3/kv/range").await.0, 501);
    assert_eq!(ask("POST", &address, "/health").await.0, 405);
    let (code, _, body) = ask("HEAD", &address, "/livez").await;
    assert_eq!((code, body.as_str()), (200, ""));
    let (code, content_type, body) = get(&address, "/metrics").await;
    assert_eq!((code, content_type.as_str()), (200, etcd_prism_frontend::http1::EXPOSITION));
    assert!(body.contains("etcd_prism_shard_up{shard=\"a\"} 0\n"), "{body}");

    gateway.draining.cancel();
    assert_eq!(get(&address, "/readyz/draining").await.0, 503);

    cancel.cancel();
    server.await.unwrap().unwrap();
    let error = etcd_prism_admin::fetch(&address).await.unwrap_err();
    assert!(matches!(error, etcd_prism_admin::FetchError::Connect { .. }), "{error}");
}
