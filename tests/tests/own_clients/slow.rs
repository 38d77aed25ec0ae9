//! A TCP relay whose requests arrive late: a proxy that is far from one shard.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Chunks on their way.
const CHUNKS: usize = 1024;

/// Stops when dropped.
pub(crate) struct SlowRoad {
    address: String,
    acceptor: AbortHandle,
}

impl SlowRoad {
    /// To `target` (`http://HOST:PORT`), where everything arrives `delay` later.
    pub(crate) async fn to(target: &str, delay: Duration) -> Self {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let acceptor = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                connections.spawn(relay(client, server, delay));
            }
        });
        Self { address, acceptor: acceptor.abort_handle() }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for SlowRoad {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn relay(client: TcpStream, server: TcpStream, delay: Duration) {
    server.set_nodelay(true).ok();
    client.set_nodelay(true).ok();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let back = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = from_client.read(&mut buffer).await?;
            let due = Instant::now() + delay;
            if count == 0 || sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    let write = async {
        while let Some((due, chunk)) = chunks.recv().await {
            sleep_until(due).await;
            to_server.write_all(&chunk).await?;
        }
        Ok::<(), std::io::Error>(())
    };
    // The end of either side is the end of the connection.
    tokio::select! { _ = back => {}, _ = read => {}, _ = write => {} }
}
