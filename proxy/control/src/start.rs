//! Sets everything up.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use etcd_prism_ownership::definition::definitions;
use etcd_prism_ownership::id::ProxyId;
use etcd_prism_ownership::{Answer, Permit, keys};
use etcd_prism_routing::{Keyspace, RouteSpec};
use etcd_prism_upstream::ShardPool;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::metrics;
use crate::options::Options;
use crate::ownership::Ownership;
use crate::snapshot::OwnershipSnapshot;
use crate::state::{Route, Shard, State, ids};
use crate::task::{Signals, first, renew, session, watch};
use crate::view::RouteView;

/// Starts to keep fences and sessions, on this runtime, until stopped. `keyspace` is made from `specs`; `pools` are in the
/// order of the shards' ids, and nobody else's.
pub fn start(
    options: Options,
    keyspace: &Keyspace,
    specs: &[RouteSpec],
    pools: Vec<ShardPool>,
    stop: CancellationToken,
) -> Arc<Ownership> {
    let own = Arc::new(ownership(options, keyspace, specs, pools));
    if !own.options.fences {
        tracing::warn!(
            "fences are switched off: writes of another proxy with other routes are not kept out, and no route can be \
             migrated"
        );
        return own;
    }
    let spawn = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    };
    for shard in ids(own.pools.len()) {
        spawn(Box::pin(watch::run(own.clone(), shard)));
        spawn(Box::pin(session::run(own.clone(), shard)));
        spawn(Box::pin(renew::run(own.clone(), shard)));
    }
    spawn(Box::pin(first::run(own.clone())));
    spawn(Box::pin(metrics::run(own.clone())));
    own
}

/// What a proxy of this configuration would make of the shards. Starts nothing and writes nothing.
pub async fn survey(
    options: Options,
    keyspace: &Keyspace,
    specs: &[RouteSpec],
    pools: Vec<ShardPool>,
) -> OwnershipSnapshot {
    let own = ownership(options, keyspace, specs, pools);
    // The second look confirms what the first one found odd.
    for _ in 0..2 {
        let reads = ids(own.pools.len()).map(|shard| own.read(shard));
        // Shards that do not answer are in the picture, with the reason.
        drop(futures_util::future::join_all(reads).await);
    }
    own.snapshot()
}

fn ownership(options: Options, keyspace: &Keyspace, specs: &[RouteSpec], pools: Vec<ShardPool>) -> Ownership {
    let margin = options.margin_nanos();
    let shards: Vec<Shard> = pools.iter().map(|pool| Shard::new(&pool.shard().name, margin)).collect();
    let names: Vec<String> = shards.iter().map(|s| s.name.clone()).collect();
    let hashes = definitions(keyspace).into_iter().map(|definition| definition.hash());
    let routes: Vec<Route> = keyspace
        .routes()
        .zip(hashes)
        .map(|((_, route), definition)| Route::new(&route.name, definition, route.shard, &names))
        .collect();
    let views = routes.iter().map(|route| view(route, options.fences)).collect();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    Ownership {
        hub: Hub::new(views, shards.len(), options.clock.clone()),
        signals: Signals::new(shards.len()),
        state: Mutex::new(State::new(routes, shards)),
        upstream: pools.iter().map(|pool| pool.shard().clone()).collect(),
        pools,
        specs: specs.to_vec(),
        options,
        id: ProxyId(rand::random()),
        started: i64::try_from(started).unwrap_or(i64::MAX),
    }
}

fn view(route: &Route, fences: bool) -> RouteView {
    let answer = match fences {
        true => route.engine.answer().clone(),
        false => Answer::Permit(Permit { shard: route.configured, epoch: 0, n: 0 }),
    };
    RouteView {
        answer,
        generation: route.engine.generation(),
        floor: 0,
        line: None,
        fence_key: Bytes::from(keys::fence(&route.name)),
        unfenced: !fences,
    }
}
