//! A TCP relay in front of a server, that lets what goes one way arrive late.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Chunks on their way through one connection. A full queue holds back the sender, as a network does.
const CHUNKS: usize = 1024;

/// What arrives late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    Answers,
    Requests,
}

/// Relays every connection to one server and delays what goes one way. Stops when dropped.
#[derive(Debug)]
pub struct DelayProxy {
    address: String,
    delay: Arc<Mutex<Duration>>,
    acceptor: AbortHandle,
}

impl DelayProxy {
    /// In front of `target` (`http://HOST:PORT`), without a delay at first.
    pub async fn start(target: &str, late: Late) -> Self {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let delay = Arc::new(Mutex::new(Duration::ZERO));
        let acceptor = tokio::spawn(accept(listener, target, late, delay.clone())).abort_handle();
        Self { address, delay, acceptor }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, what is late arrives this much later. Its order stays.
    pub fn set_delay(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, target: String, late: Late, delay: Arc<Mutex<Duration>>) {
    // Dropped, and its tasks with it, when this task is aborted.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        // A server that is down ends the connection at once.
        let Ok(server) = TcpStream::connect(&target).await else { continue };
        // The delay is on the way from the first to the second.
        let (from, to) = match late {
            Late::Answers => (server, client),
            Late::Requests => (client, server),
        };
        connections.spawn(relay(from, to, delay.clone()));
    }
}

async fn relay(from: TcpStream, to: TcpStream, delay: Arc<Mutex<Duration>>) {
    from.set_nodelay(true).ok();
    to.set_nodelay(true).ok();
    let (mut slow_in, mut fast_out) = from.into_split();
    let (mut fast_in, mut slow_out) = to.into_split();
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let fast = async { tokio::io::copy(&mut fast_in, &mut fast_out).await.map(drop) };
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = slow_in.read(&mut buffer).await?;
            let due = Instant::now() + *delay.lock();
            if count == 0 || sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    let write = async {
        let mut last = Instant::now();
        while let Some((due, chunk)) = chunks.recv().await {
            // A delay that shrinks must not let a chunk overtake another.
            last = last.max(due);
            sleep_until(last).await;
            slow_out.write_all(&chunk).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    // The end of either side is the end of the connection.
    tokio::select! { _ = fast => {}, _ = read => {}, _ = write => {} }
}
