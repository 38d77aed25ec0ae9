//! Migrations: the operator's verbs.
//!
//! `GET /migrations` lists them; `POST /migrations/<route>` takes a [`Verb`] as JSON and answers with a [`Reply`]: 200 if it
//! was reached, 409 if not. Verbs are JSON bodies, so a page in a browser cannot send one.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use etcd_prism_migration::verbs::{Reply, Verb};
use etcd_prism_migration::{Host, Status};
use http::StatusCode;

pub(crate) fn router(host: Arc<Host>) -> Router {
    Router::new().route("/migrations", get(list)).route("/migrations/{route}", post(verb)).with_state(host)
}

async fn list(State(host): State<Arc<Host>>) -> Json<Vec<Status>> {
    Json(host.list().await)
}

async fn verb(
    State(host): State<Arc<Host>>,
    Path(route): Path<String>,
    Json(verb): Json<Verb>,
) -> (StatusCode, Json<Reply>) {
    let reply = host.verb(&route, verb).await;
    let code = if reply.is_good() { StatusCode::OK } else { StatusCode::CONFLICT };
    (code, Json(reply))
}
