//! Counters of requests: one handle per route, method and code, looked up once.

use std::sync::OnceLock;
use std::time::Instant;

use etcd_prism_routing::{Keyspace, RouteId};
use etcd_prism_wire::Code;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

const CODES: usize = 17;

/// Label of requests that belong to no route.
const NO_ROUTE: &str = "-";
/// Label of requests that span routes.
const SPANNING: &str = "(spanning)";

/// Which route a request turned out to be for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Routed {
    #[default]
    None,
    Route(RouteId),
    Spanning,
}

#[derive(Default)]
struct Method {
    codes: [OnceLock<Counter>; CODES],
    seconds: OnceLock<Histogram>,
    request_bytes: OnceLock<Counter>,
    reply_bytes: OnceLock<Counter>,
}

/// The handles of all request metrics.
pub struct Metrics {
    /// Labels of `Routed` values: none, spanning, then the routes.
    routes: Vec<String>,
    methods: &'static [&'static str],
    /// By route label, then method.
    handles: Vec<Vec<Method>>,
    pub in_flight: Gauge,
    pub connections: Gauge,
    pub watchers: Gauge,
    pub watch_events: Counter,
    pub watch_resumes: Counter,
    pub watch_laggards: Counter,
    pub leases_brought: Counter,
    pub fenced_writes: Counter,
    pub fenced_reads: Counter,
    pub fence_refusals: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// `methods`: full paths; requests are counted by their index.
    pub fn new(keyspace: &Keyspace, methods: &'static [&'static str]) -> Self {
        let mut routes = vec![NO_ROUTE.to_owned(), SPANNING.to_owned()];
        routes.extend(keyspace.routes().map(|(_, r)| r.name.clone()));
        let handles = routes.iter().map(|_| methods.iter().map(|_| Method::default()).collect()).collect();
        Self {
            routes,
            methods,
            handles,
            in_flight: gauge!("etcd_prism_requests_in_flight"),
            connections: gauge!("etcd_prism_client_connections"),
            watchers: gauge!("etcd_prism_watchers"),
            watch_events: counter!("etcd_prism_watch_events_total"),
            watch_resumes: counter!("etcd_prism_watch_resumes_total"),
            watch_laggards: counter!("etcd_prism_watch_laggards_total"),
            leases_brought: counter!("etcd_prism_leases_brought_total"),
            fenced_writes: counter!("etcd_prism_fenced_writes_total"),
            fenced_reads: counter!("etcd_prism_fenced_reads_total"),
            fence_refusals: counter!("etcd_prism_fence_refusals_total"),
        }
    }

    /// The label of a request's route.
    pub fn route(&self, routed: Routed) -> &str {
        self.routes.get(index(routed)).map_or(NO_ROUTE, String::as_str)
    }

    /// Starts to account for a request, in flight from here on.
    pub fn start(&self, method: usize) -> Account<'_> {
        self.in_flight.increment(1.0);
        Account {
            metrics: self,
            method,
            started: Instant::now(),
            routed: Routed::None,
            request_bytes: 0,
            ended: None,
        }
    }

    fn count(&self, account: &Account<'_>, code: Code, reply_bytes: usize) {
        let route = index(account.routed);
        let Some(handle) = self.handles.get(route).and_then(|m| m.get(account.method)) else { return };
        let labels =
            || [("route", self.routes[route].clone()), ("method", self.methods[account.method].to_owned())];
        handle.codes[code as usize]
            .get_or_init(|| {
                let [route, method] = labels();
                counter!("etcd_prism_requests_total", &[route, method, ("code", code.name().to_owned())])
            })
            .increment(1);
        let seconds =
            handle.seconds.get_or_init(|| histogram!("etcd_prism_request_duration_seconds", &labels()));
        seconds.record(account.started.elapsed().as_secs_f64());
        let bytes =
            handle.request_bytes.get_or_init(|| counter!("etcd_prism_request_bytes_total", &labels()));
        bytes.increment(account.request_bytes as u64);
        let bytes = handle.reply_bytes.get_or_init(|| counter!("etcd_prism_reply_bytes_total", &labels()));
        bytes.increment(reply_bytes as u64);
    }
}

/// A request that is being served. Dropped before it finished, it counts as cancelled by its client.
#[derive(Debug)]
pub struct Account<'m> {
    metrics: &'m Metrics,
    method: usize,
    started: Instant,
    pub routed: Routed,
    /// Bytes of the request's frame.
    pub request_bytes: usize,
    ended: Option<(Code, usize)>,
}

impl Account<'_> {
    /// The request ended with `code`, or its reply has started.
    pub fn finish(mut self, code: Code, reply_bytes: usize) {
        self.ended = Some((code, reply_bytes));
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        let (code, reply_bytes) = self.ended.unwrap_or((Code::Canceled, 0));
        self.metrics.count(self, code, reply_bytes);
        self.metrics.in_flight.decrement(1.0);
    }
}

/// Place in the list of labels.
fn index(routed: Routed) -> usize {
    match routed {
        Routed::None => 0,
        Routed::Spanning => 1,
        Routed::Route(RouteId(id)) => 2 + usize::from(id),
    }
}
