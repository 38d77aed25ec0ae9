//! Many pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etcd_prism_tests::kube::api::Api;
use etcd_prism_tests::kube::objects::Kind;
use etcd_prism_tests::wait;
use tokio::task::JoinSet;

/// Requests on their way at once, over how many connections: few enough for the API server's own bounds.
const AT_ONCE: usize = 64;
const CONNECTIONS: usize = 4;
/// Between two reports of how far it is.
const NEWS: usize = 20_000;

/// Waits until the API server is ready, and creates `objects` pods through it.
pub(crate) async fn run(api: &Api, objects: usize) {
    wait::until_within(Duration::from_secs(180), "the API server to be ready", async || {
        api.text("/readyz").await?;
        api.get("/api/v1/namespaces/default").await
    })
    .await;
    let started = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let connections: Vec<Api> = (0..CONNECTIONS).map(|_| api.another()).collect();
    let mut tasks = JoinSet::new();
    for task in 0..AT_ONCE {
        let (api, next) = (connections[task % CONNECTIONS].clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= objects {
                    return;
                }
                let pod = Kind::Pod.object(&format!("pod-{number:07}"));
                api.create(&Kind::Pod.collection(), &pod)
                    .await
                    .unwrap_or_else(|error| panic!("pod {number}: {error}"));
                if number > 0 && number.is_multiple_of(NEWS) {
                    println!("{number} pods after {} s", started.elapsed().as_secs());
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("a task that creates pods");
    }
    println!("{objects} pods created through the API server in {} s", started.elapsed().as_secs());
}
