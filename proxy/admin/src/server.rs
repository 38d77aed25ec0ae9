//! The admin listener.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use etcd_prism_frontend::{Gateway, http1};
use etcd_prism_migration::Host;
use http::{Method, Response, Uri};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::collect;
use crate::gauges::ShardGauges;
use crate::migrations;
use crate::report::StatusReport;

/// Time between two refreshes of the gauges, for scrapes of the client port.
const REFRESH: Duration = Duration::from_secs(5);

struct Admin {
    gateway: Arc<Gateway>,
    gauges: ShardGauges,
    started: Instant,
}

/// Serves `/metrics`, `/livez`, `/readyz`, `/health`, `/version` and `/status` until cancelled; requests that are being
/// answered then are finished. With a host, on a loopback address, also `/migrations`. `/metrics` on the client port shows gauges
/// of shards only while this runs.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    host: Option<Arc<Host>>,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    let admin = Arc::new(Admin { gauges: ShardGauges::new(&gateway), gateway, started: Instant::now() });
    let app = Router::new()
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .fallback(like_clients)
        .with_state(admin.clone());
    // Nobody is asked who they are here. What only tells may be had from afar, what moves routes may not.
    let is_local = listener.local_addr()?.ip().is_loopback();
    let app = match host.filter(|_| is_local) {
        Some(host) => app.merge(migrations::router(host)),
        None => app,
    };
    let server = axum::serve(listener, app).with_graceful_shutdown(cancel.clone().cancelled_owned());
    let (served, ()) = tokio::join!(server.into_future(), refresh(&admin, &cancel));
    served
}

async fn refresh(admin: &Admin, cancel: &CancellationToken) {
    let mut ticks = tokio::time::interval(REFRESH);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => admin.gauges.refresh(&admin.gateway),
        }
    }
}

async fn status(State(admin): State<Arc<Admin>>) -> Json<StatusReport> {
    Json(collect::report(&admin.gateway, admin.started))
}

async fn metrics(State(admin): State<Arc<Admin>>, method: Method, uri: Uri) -> Response<String> {
    admin.gauges.refresh(&admin.gateway);
    http1::answer(&admin.gateway, &method, &uri)
}

/// What clients are answered on their port over HTTP/1.1.
async fn like_clients(State(admin): State<Arc<Admin>>, method: Method, uri: Uri) -> Response<String> {
    http1::answer(&admin.gateway, &method, &uri)
}
