//! A network between one client and its servers that reads along, and stands still at the request that a test is after.
//!
//! gRPC bodies are not compressed, so what a request carries can be read in the stream. A few bytes name a request: the state
//! in a fence's JSON, say. The test arms a [`Trail`] of such marks; when the last one passes, the relay in front of that
//! server holds the request, or lets it through and holds the answers, and the test does what it is there for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::relay::Network;

/// Bytes of a request to one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The server; `None`: any of them.
    pub server: Option<&'static str>,
    pub bytes: &'static [u8],
    /// How often they have to be seen.
    pub times: usize,
}

/// Marks that have to be seen one after the other. The last one names the request that is meant.
pub type Trail = &'static [Mark];

/// What is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The request has not reached the server.
    Before,
    /// It has; nothing that the server answers reaches the client.
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Nothing,
    Of(Side, &'static str),
}

#[derive(Debug)]
struct Trip {
    trail: Trail,
    at: usize,
    times: usize,
    side: Side,
}

#[derive(Debug)]
struct Shared {
    trip: Mutex<Option<Trip>>,
    hold: watch::Sender<Hold>,
    /// Connections of the client.
    open: watch::Sender<usize>,
}

/// The ways of one client to all its servers. They end when it is dropped.
#[derive(Debug)]
pub struct Tripwire {
    shared: Arc<Shared>,
    wires: Vec<Wire>,
}

#[derive(Debug)]
struct Wire {
    server: &'static str,
    address: String,
    network: watch::Sender<Network>,
    acceptor: AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Tripwire {
    /// `servers` are names with their endpoints (`http://HOST:PORT`); a cluster has one name and several of them.
    pub async fn start(servers: &[(&'static str, Vec<String>)]) -> Self {
        let (hold, open) = (watch::Sender::new(Hold::Nothing), watch::Sender::new(0));
        let shared = Arc::new(Shared { trip: Mutex::new(None), hold, open });
        let mut wires = Vec::new();
        for (server, endpoint) in servers.iter().flat_map(|(name, all)| all.iter().map(move |e| (*name, e))) {
            let target = endpoint.trim_start_matches("http://").to_owned();
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            let network = watch::Sender::new(Network::Good);
            let way = Way { server, target, network: network.subscribe(), shared: shared.clone() };
            let acceptor = tokio::spawn(accept(listener, way)).abort_handle();
            wires.push(Wire { server, address, network, acceptor });
        }
        Self { shared, wires }
    }

    /// Where the client finds a server.
    pub fn endpoints(&self, server: &str) -> Vec<String> {
        let ours = self.wires.iter().filter(|wire| wire.server == server);
        ours.map(|wire| format!("http://{}", wire.address)).collect()
    }

    /// Makes the network to a server good or bad.
    pub fn set(&self, server: &str, network: Network) {
        for wire in self.wires.iter().filter(|wire| wire.server == server) {
            wire.network.send_replace(network);
        }
    }

    /// The next requests are read along.
    pub fn arm(&self, trail: Trail, side: Side) {
        assert!(!trail.is_empty(), "an empty trail");
        *self.shared.trip.lock() = Some(Trip { trail, at: 0, times: 0, side });
    }

    /// Waits until the last mark was seen; from then on it is held. `Err`: how many marks were seen by then.
    pub async fn sprung(&self, limit: Duration) -> Result<(), usize> {
        let mut hold = self.shared.hold.subscribe();
        let sprung = tokio::time::timeout(limit, hold.wait_for(|hold| *hold != Hold::Nothing)).await;
        match sprung {
            Ok(_) => Ok(()),
            Err(_) => Err(self.shared.trip.lock().take().map_or(0, |trip| trip.at)),
        }
    }

    /// Lets go. What was held arrives now.
    pub fn release(&self) {
        *self.shared.trip.lock() = None;
        self.shared.hold.send_replace(Hold::Nothing);
    }

    /// Loses what is held, with every connection that there is.
    pub async fn lose(&self) {
        let servers: Vec<&str> = self.wires.iter().map(|wire| wire.server).collect();
        servers.iter().for_each(|server| self.set(server, Network::Broken));
        let mut open = self.shared.open.subscribe();
        open.wait_for(|open| *open == 0).await.expect("the sender is ours");
        self.release();
        servers.iter().for_each(|server| self.set(server, Network::Good));
    }
}

#[derive(Clone)]
struct Way {
    server: &'static str,
    target: String,
    network: watch::Receiver<Network>,
    shared: Arc<Shared>,
}

async fn accept(listener: TcpListener, way: Way) {
    // Dropped, and its tasks with it, when this task is aborted.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(relay(client, way.clone()));
    }
}

/// Counts a connection for as long as it is there.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.send_modify(|open| *open += 1);
        Self(shared.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

async fn relay(client: TcpStream, way: Way) {
    let _open = Open::new(&way.shared);
    let (mut network, mut broken) = (way.network.clone(), way.network.clone());
    let passing = async {
        // A server that is not there ends the connection.
        if network.wait_for(|n| *n != Network::Silent).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(&way.target).await else { return };
        client.set_nodelay(true).ok();
        server.set_nodelay(true).ok();
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        // The end of either side is the end of the connection.
        tokio::select! {
            () = pass(from_client, to_server, way.clone(), Side::Before) => {}
            () = pass(from_server, to_client, way.clone(), Side::After) => {}
        }
    };
    tokio::select! { () = passing => {}, _ = broken.wait_for(|n| *n == Network::Broken) => {} }
}

/// Requests go by on the side before the server, answers on the side after it.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, side: Side) {
    let (mut network, mut hold) = (way.network.clone(), way.shared.hold.subscribe());
    let (mut buffer, mut tail) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let chunk = &buffer[..count];
        if side == Side::Before {
            way.shared.read_along(way.server, &mut tail, chunk);
        }
        let is_free = hold.wait_for(|hold| *hold != Hold::Of(side, way.server)).await.is_ok();
        let is_good = network.wait_for(|n| *n == Network::Good).await.is_ok();
        if count == 0 || !is_free || !is_good || to.write_all(chunk).await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// Looks for marks in what goes to a server. `tail` is what of the bytes before may be the beginning of one.
    fn read_along(&self, server: &'static str, tail: &mut Vec<u8>, chunk: &[u8]) {
        let mut guard = self.trip.lock();
        let Some(trip) = guard.as_mut() else { return tail.clear() };
        tail.extend_from_slice(chunk);
        let mut from = 0;
        while let Some(mark) = trip.trail.get(trip.at)
            && mark.server.is_none_or(|wanted| wanted == server)
            && let Some(found) = find(&tail[from..], mark.bytes)
        {
            from += found + mark.bytes.len();
            trip.times += 1;
            if trip.times == mark.times {
                (trip.at, trip.times) = (trip.at + 1, 0);
            }
        }
        tail.drain(..from);
        // Nothing that was whole before: a mark that came too early does not count later.
        let begins = |rest: &[u8]| {
            trip.trail.iter().any(|mark| mark.bytes.len() > rest.len() && mark.bytes.starts_with(rest))
        };
        let kept = (0..tail.len()).find(|at| begins(&tail[*at..])).unwrap_or(tail.len());
        tail.drain(..kept);
        if trip.at == trip.trail.len() {
            let side = trip.side;
            *guard = None;
            self.hold.send_replace(Hold::Of(side, server));
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAIL: Trail = &[
        Mark { server: Some("a"), bytes: b"sealed", times: 1 },
        Mark { server: None, bytes: b"page", times: 2 },
    ];

    async fn echo() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        (listener, endpoint)
    }

    async fn connect(wires: &Tripwire, server: &str) -> TcpStream {
        let endpoint = wires.endpoints(server).remove(0);
        TcpStream::connect(endpoint.trim_start_matches("http://")).await.expect("a connection")
    }

    async fn reads(stream: &mut TcpStream, wanted: &[u8]) {
        let mut found = vec![0; wanted.len()];
        stream.read_exact(&mut found).await.expect("bytes");
        assert_eq!(found, wanted);
    }

    #[tokio::test]
    async fn the_request_is_held_though_it_comes_in_pieces() {
        let ((a, at_a), (b, at_b)) = (echo().await, echo().await);
        let wires = Tripwire::start(&[("a", vec![at_a]), ("b", vec![at_b])]).await;
        let (mut to_a, mut to_b) = (connect(&wires, "a").await, connect(&wires, "b").await);
        let (mut on_a, mut on_b) = (a.accept().await.expect("a").0, b.accept().await.expect("b").0);
        wires.arm(TRAIL, Side::Before);
        // Another server's, and too early.
        to_b.write_all(b"sealed page").await.expect("sent");
        reads(&mut on_b, b"sealed page").await;
        to_a.write_all(b"sea").await.expect("sent");
        reads(&mut on_a, b"sea").await;
        to_a.write_all(b"led").await.expect("sent");
        reads(&mut on_a, b"led").await;
        to_b.write_all(b"page").await.expect("sent");
        reads(&mut on_b, b"page").await;
        assert_eq!(wires.sprung(Duration::from_millis(1)).await, Err(1));
        wires.arm(TRAIL, Side::Before);
        to_a.write_all(b"sealed page pa").await.expect("sent");
        reads(&mut on_a, b"sealed page pa").await;
        to_a.write_all(b"ge!").await.expect("sent");
        wires.sprung(Duration::from_secs(10)).await.expect("held");
        // Only what goes to the one server, and comes from this client.
        to_b.write_all(b"x").await.expect("sent");
        reads(&mut on_b, b"x").await;
        on_a.write_all(b"answer").await.expect("sent");
        reads(&mut to_a, b"answer").await;
        assert_eq!(on_a.try_read(&mut [0; 8]).map_err(|e| e.kind()), Err(std::io::ErrorKind::WouldBlock));
        wires.release();
        reads(&mut on_a, b"ge!").await;
    }

    #[tokio::test]
    async fn answers_are_held_and_lost() {
        let (a, at_a) = echo().await;
        let wires = Tripwire::start(&[("a", vec![at_a])]).await;
        let mut to_a = connect(&wires, "a").await;
        let mut on_a = a.accept().await.expect("a").0;
        wires.arm(&[Mark { server: Some("a"), bytes: b"it", times: 1 }], Side::After);
        to_a.write_all(b"it").await.expect("sent");
        reads(&mut on_a, b"it").await;
        wires.sprung(Duration::from_secs(10)).await.expect("held");
        on_a.write_all(b"answer").await.expect("sent");
        wires.lose().await;
        assert_eq!(to_a.read(&mut [0; 8]).await.unwrap_or(0), 0, "an answer that was lost");
        connect(&wires, "a").await.write_all(b"again").await.expect("sent");
        reads(&mut a.accept().await.expect("a").0, b"again").await;
    }
}
