//! Counters of requests: one handle per route, method and code, looked up once.

use std::sync::OnceLock;
use std::time::Instant;

use etcd_prism_routing::{Keyspace, Placement, RouteId};
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

impl Routed {
    pub fn set(&mut self, placement: &Placement) {
        *self = match placement {
            Placement::One { route, .. } => Routed::Route(*route),
            Placement::Spans(_) => Routed::Spanning,
        };
    }
}

struct Method {
    codes: [OnceLock<Counter>; CODES],
    seconds: OnceLock<Histogram>,
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
        let method = |_: &&str| Method { codes: Default::default(), seconds: OnceLock::new() };
        let handles = routes.iter().map(|_| methods.iter().map(method).collect()).collect();
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
        }
    }

    /// The label of a request's route.
    pub fn route(&self, routed: Routed) -> &str {
        self.routes.get(index(routed)).map_or(NO_ROUTE, String::as_str)
    }

    /// Counts a request that ended with `code`.
    pub fn request(&self, routed: Routed, method: usize, code: Code, started: Instant) {
        let route = index(routed);
        let Some(handle) = self.handles.get(route).and_then(|m| m.get(method)) else { return };
        let labels = || [("route", self.routes[route].clone()), ("method", self.methods[method].to_owned())];
        handle.codes[code as usize]
            .get_or_init(|| {
                let [route, method] = labels();
                counter!("etcd_prism_requests_total", &[route, method, ("code", code.name().to_owned())])
            })
            .increment(1);
        handle
            .seconds
            .get_or_init(|| histogram!("etcd_prism_request_duration_seconds", &labels()))
            .record(started.elapsed().as_secs_f64());
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
