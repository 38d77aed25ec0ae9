//! The listener, the workers and the connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use etcd_prism_tls::ReloadingServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::gateway::{Gateway, Worker};

mod connection;
mod greeting;

/// How the server is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads that serve, each with its own runtime and upstream connections.
    pub workers: usize,
    /// One work-stealing runtime instead.
    pub work_stealing: bool,
    /// Connections beyond this are closed as they come. Read for each connection, so it may change.
    pub max_connections: Arc<AtomicUsize>,
    /// Streams per connection, told to clients.
    pub max_concurrent_streams: u32,
    /// Longest wait for requests in flight when draining.
    pub drain_timeout: Duration,
    /// Read for each connection, so it may change; whether there is TLS at all may not.
    pub tls: Option<Arc<ArcSwap<ReloadingServerConfig>>>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot start a worker thread: {0}")]
    Thread(std::io::Error),
    #[error("cannot hand a connection to a worker: {0}")]
    Socket(std::io::Error),
}

/// One worker's inbox and load.
struct Inbox {
    sender: mpsc::UnboundedSender<std::net::TcpStream>,
    load: Arc<AtomicUsize>,
}

/// Accepts connections until drained, then waits for what is in flight, at most [`Options::drain_timeout`].
pub async fn run(listener: TcpListener, gateway: Arc<Gateway>, options: Options) -> Result<(), ServerError> {
    let draining = gateway.draining.clone();
    let options = Arc::new(options);
    let mut inboxes = Vec::new();
    let mut threads = Vec::new();
    let count = if options.work_stealing { 1 } else { options.workers.max(1) };
    for number in 0..count {
        let (sender, receiver) = mpsc::unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        inboxes.push(Inbox { sender, load: load.clone() });
        threads.push(start_worker(number, gateway.clone(), options.clone(), receiver, load)?);
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, usually. The connections that are open go on.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let open: usize = inboxes.iter().map(|i| i.load.load(Ordering::Relaxed)).sum();
        if open >= options.max_connections.load(Ordering::Relaxed) {
            tracing::warn!(open, "connection refused: too many are open (listen.max_connections)");
            continue;
        }
        // Connections of API servers live long and differ in weight: the next one goes where the fewest are.
        let Some(inbox) = inboxes.iter().min_by_key(|i| i.load.load(Ordering::Relaxed)) else { break };
        match stream.into_std() {
            Ok(stream) => {
                inbox.load.fetch_add(1, Ordering::Relaxed);
                if inbox.sender.send(stream).is_err() {
                    break;
                }
            }
            Err(error) => tracing::warn!(%error, "connection lost while it was accepted"),
        }
    }
    // No more connections: the port is free for the next proxy at once.
    drop(listener);
    drop(inboxes);
    let waited = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    });
    if waited.await.is_err() {
        tracing::error!("waiting for the workers failed");
    }
    Ok(())
}

fn start_worker(
    number: usize,
    gateway: Arc<Gateway>,
    options: Arc<Options>,
    inbox: mpsc::UnboundedReceiver<std::net::TcpStream>,
    load: Arc<AtomicUsize>,
) -> Result<std::thread::JoinHandle<()>, ServerError> {
    let mut builder = if options.work_stealing {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(options.workers.max(1));
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().thread_name("worker").build().map_err(ServerError::Thread)?;
    std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            let bound = options.drain_timeout;
            runtime.block_on(serve(gateway, options, inbox, load));
            runtime.shutdown_timeout(bound.min(Duration::from_secs(1)));
        })
        .map_err(ServerError::Thread)
}

/// Serves the connections of one worker.
async fn serve(
    gateway: Arc<Gateway>,
    options: Arc<Options>,
    mut inbox: mpsc::UnboundedReceiver<std::net::TcpStream>,
    load: Arc<AtomicUsize>,
) {
    let worker = Arc::new(Worker::new(gateway.clone()));
    let closing = CancellationToken::new();
    while let Some(stream) = inbox.recv().await {
        let guard = LoadGuard { load: load.clone(), gateway: gateway.clone() };
        gateway.metrics.connections.increment(1.0);
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection lost on its way to a worker");
                continue;
            }
        };
        let (worker, options, closing) = (worker.clone(), options.clone(), closing.clone());
        tokio::spawn(async move {
            connection::serve(worker, options, stream, closing).await;
            drop(guard);
        });
    }
    // Draining: connections say goodbye by themselves; what is left after the bound is cut.
    let deadline = tokio::time::Instant::now() + options.drain_timeout;
    while load.load(Ordering::Relaxed) > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left = load.load(Ordering::Relaxed);
    if left > 0 {
        tracing::info!(left, "connections cut off after the drain timeout");
    }
    closing.cancel();
}

/// Counts a connection of a worker until it is dropped.
struct LoadGuard {
    load: Arc<AtomicUsize>,
    gateway: Arc<Gateway>,
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.gateway.metrics.connections.decrement(1.0);
    }
}
