//! What API servers do, on all routes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::request_op::Request;
use etcd_prism_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, RangeRequest, StatusRequest, TxnRequest, TxnResponse,
};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{delete, get, list, mod_revision_is, op, put};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::samples::{CONTROL, NO_ROUTE, Samples};

pub(crate) const ROUTES: [&str; 4] = ["events", "leases", "pods", "rest"];

/// Enough to find what is shared between routes, and too little to keep two slow cores busy.
const PAUSE: Duration = Duration::from_millis(10);

/// A prefix inside `route`.
pub(crate) fn prefix_of(route: &str) -> &'static str {
    match route {
        "events" => "/registry/events/",
        "leases" => "/registry/leases/",
        "pods" => "/registry/pods/",
        _ => "/registry/configmaps/",
    }
}

/// Operations of each route; every one of them has to be seen.
pub(crate) const OPERATIONS: [&str; 10] = [
    "create",
    "update",
    "get",
    "list",
    "delete",
    "leased create",
    "keep-alive",
    "marker",
    "event",
    "progress",
];
/// Operations that concern no route.
pub(crate) const GENERAL: [&str; 2] = ["lease grant", "status"];

/// Runs until it is stopped.
pub(crate) struct Load {
    pub(crate) samples: Samples,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Through the proxy at `endpoint`. `control` is a shard that nothing will be done to.
    pub(crate) fn start(endpoint: &str, control: Client) -> Self {
        let (samples, stop) = (Samples::default(), Arc::new(AtomicBool::new(false)));
        let mut tasks = Vec::new();
        let shared = Client::new(endpoint);
        for route in ROUTES {
            // A client of its own, as every resource of an API server has one, and one that is used for all routes.
            for (name, client) in [("own", Client::new(endpoint)), ("shared", shared.clone())] {
                let worker = Worker { client, route, name, samples: samples.clone() };
                tasks.push(repeat(&stop, worker, Worker::turn));
            }
            let worker =
                Worker { client: Client::new(endpoint), route, name: "leased", samples: samples.clone() };
            tasks.push(repeat(&stop, worker, Worker::leased));
        }
        let worker = |client| Worker { client, route: NO_ROUTE, name: "general", samples: samples.clone() };
        tasks.push(repeat(&stop, worker(Client::new(endpoint)), Worker::probes));
        tasks.push(repeat(&stop, worker(control), Worker::control));
        Self { samples, stop, tasks }
    }

    /// Lets every request that is under way end.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a task of the load");
        }
    }
}

fn repeat<F>(stop: &Arc<AtomicBool>, worker: Worker, turn: fn(Worker, u64) -> F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let stop = stop.clone();
    tokio::spawn(async move {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            turn(worker.clone(), number).await;
            tokio::time::sleep(PAUSE).await;
        }
    })
}

#[derive(Clone)]
struct Worker {
    client: Client,
    route: &'static str,
    name: &'static str,
    samples: Samples,
}

impl Worker {
    /// An object's life, as kube-apiserver writes it, and the reads around it.
    async fn turn(self, number: u64) {
        let key = format!("{}{}-{}", prefix_of(self.route), self.name, number % 50);
        let Some(created) = self.time("create", self.txn(&key, 0, 0)).await else { return };
        let revision = created.header.map_or(0, |header| header.revision);
        if !created.succeeded {
            // Left by a turn that could not delete it.
            self.time("delete", self.client.kv().delete_range(delete(&key))).await;
            return;
        }
        self.time("update", self.txn(&key, revision, 0)).await;
        self.time("get", self.client.kv().range(get(&key))).await;
        let page = RangeRequest { limit: 50, ..list(prefix_of(self.route)) };
        self.time("list", self.client.kv().range(page)).await;
        self.time("delete", self.client.kv().delete_range(delete(&key))).await;
    }

    /// A lease, its renewal, and an object that hangs on it, on a connection that is used for one route.
    async fn leased(self, number: u64) {
        let request = LeaseGrantRequest { id: 0, ttl: 60 };
        let mut leases = self.client.lease();
        let Some(lease) = self.samples.time(NO_ROUTE, "lease grant", leases.lease_grant(request)).await
        else {
            return;
        };
        let id = lease.into_inner().id;
        let renewal = async {
            let asked = tokio_stream::once(LeaseKeepAliveRequest { id });
            let answer = self.client.lease().lease_keep_alive(asked).await?.into_inner().message().await?;
            let answer = answer.ok_or_else(|| Status::unknown("the stream ended without an answer"))?;
            if answer.ttl > 0 { Ok(()) } else { Err(Status::unknown("the lease is gone")) }
        };
        self.time("keep-alive", renewal).await;
        let key = format!("{}leased-{number}", prefix_of(self.route));
        self.time("leased create", self.txn(&key, 0, id)).await;
    }

    async fn probes(self, _: u64) {
        self.samples
            .time(NO_ROUTE, "status", self.client.maintenance().status(StatusRequest::default()))
            .await;
        // It lies on the default route, so it counts among that route's requests.
        self.samples.time("rest", "health key", self.client.kv().range(get("/registry/health"))).await;
    }

    async fn control(self, _: u64) {
        self.samples.time(CONTROL, "get", self.client.kv().range(get("/registry/health"))).await;
    }

    async fn time<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Option<T> {
        self.samples.time(self.route, operation, call).await
    }

    /// Puts if the key is at `revision`, else reads: what kube-apiserver writes with.
    async fn txn(&self, key: &str, revision: i64, lease: i64) -> Result<TxnResponse, Status> {
        let mut write = put(key, &[b'x'; 512]);
        write.lease = lease;
        let request = TxnRequest {
            compare: vec![mod_revision_is(key, revision)],
            success: vec![op(Request::RequestPut(write))],
            failure: vec![op(Request::RequestRange(get(key)))],
        };
        Ok(self.client.kv().txn(request).await?.into_inner())
    }
}
