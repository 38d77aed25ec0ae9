//! A TCP relay in front of a server: a network that can fail.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Passes everything on.
    Good,
    /// Passes nothing on and loses nothing: what is sent meanwhile arrives, in order, when it is good again.
    Silent,
    /// Ends every connection, and every new one at once.
    Broken,
}

/// Relays every connection to one server. Stops when dropped.
#[derive(Debug)]
pub struct Relay {
    address: String,
    network: watch::Sender<Network>,
    acceptor: AbortHandle,
}

impl Relay {
    /// In front of `target` (`http://HOST:PORT`), on a good network.
    pub async fn start(target: &str) -> Self {
        let target = target.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let network = watch::Sender::new(Network::Good);
        let acceptor = tokio::spawn(accept(listener, target, network.subscribe())).abort_handle();
        Self { address, network, acceptor }
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept(listener: TcpListener, target: String, network: watch::Receiver<Network>) {
    // Dropped, and its tasks with it, when this task is aborted.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(relay(client, target.clone(), network.clone()));
    }
}

async fn relay(client: TcpStream, target: String, mut network: watch::Receiver<Network>) {
    let mut broken = network.clone();
    let passing = async {
        // A server that is not there ends the connection.
        if network.wait_for(|n| *n != Network::Silent).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(&target).await else { return };
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        // The end of either side is the end of the connection.
        tokio::select! {
            () = pass(from_client, to_server, network.clone()) => {}
            () = pass(from_server, to_client, network) => {}
        }
    };
    tokio::select! { () = passing => {}, _ = broken.wait_for(|n| *n == Network::Broken) => {} }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut network: watch::Receiver<Network>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let is_good = network.wait_for(|n| *n == Network::Good).await.is_ok();
        if count == 0 || !is_good || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
