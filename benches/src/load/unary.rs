//! Clients that call and wait for the answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use crate::client::connection::{Caller, Connection};
use crate::error::BenchError;
use crate::load::Order;
use crate::load::pace::Pace;
use crate::load::script::{Outcome, Script};
use crate::load::tally::Tally;
use crate::load::team::{Seat, Task};
use crate::load::window::Window;
use crate::works::Call;

/// Clients share connections, as the requests of an API server do.
const CLIENTS_PER_CONNECTION: usize = 4;
const MOST_CONNECTIONS: usize = 16;

#[derive(Debug)]
pub(crate) struct Load {
    order: Order,
    call: Call,
    value: usize,
    connections: usize,
}

/// One client.
#[derive(Debug)]
struct Client {
    caller: Caller,
    script: Script,
    pace: Pace,
}

impl Load {
    pub(crate) fn new(order: Order, call: Call, value: usize) -> Self {
        let connections = order.clients.div_ceil(CLIENTS_PER_CONNECTION).min(MOST_CONNECTIONS);
        Self { order, call, value, connections }
    }

    /// The schedule of one client: the clients' turns are spread evenly over the interval.
    fn pace(&self, client: usize, start: Instant) -> Pace {
        match self.order.interval {
            None => Pace::Closed,
            Some(interval) => {
                let offset = interval.mul_f64(client as f64 / self.order.clients as f64);
                Pace::Open { next: start + offset, interval }
            }
        }
    }
}

impl Task for Load {
    async fn run(&self, mut seat: Seat) -> Result<Tally, BenchError> {
        let Order { clients, address, serial, .. } = self.order;
        let mut own = Vec::new();
        for connection in seat.share(self.connections) {
            let open = Connection::open(address).await?;
            for number in (connection..clients).step_by(self.connections) {
                let script = Script::new(self.call, self.value, number, serial)?;
                let caller = open.caller(script.method())?;
                own.push((number, Client { caller, script, pace: Pace::Closed }));
            }
        }
        try_join_all(own.iter_mut().map(|(_, client)| client.rehearse())).await?;
        seat.ready();
        let start = Instant::now();
        let tally = Rc::new(RefCell::new(Tally::new()?));
        let mut tasks = JoinSet::new();
        for (number, client) in own {
            let client = Client { pace: self.pace(number, start), ..client };
            tasks.spawn_local(client.run(seat.window.clone(), tally.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|_| BenchError::LoadDied)??;
        }
        Ok(Rc::unwrap_or_clone(tally).into_inner())
    }
}

// === impl Client ===

impl Client {
    /// Learns what its objects look like, so that no request fails once it counts.
    async fn rehearse(&mut self) -> Result<(), BenchError> {
        for _ in 0..self.script.rehearsal() {
            let reply = self.caller.call(self.script.next()?).await?;
            self.script.take(reply)?;
        }
        Ok(())
    }

    async fn run(mut self, window: Arc<Window>, tally: Rc<RefCell<Tally>>) -> Result<(), BenchError> {
        while !window.is_closed() {
            let request = self.script.next()?;
            let start = self.pace.turn(&window).await;
            let reply = self.caller.call(request).await?;
            let latency = start.elapsed();
            let outcome = self.script.take(reply)?;
            if window.is_open() {
                let mut tally = tally.borrow_mut();
                match outcome {
                    Outcome::Done => tally.things += 1,
                    Outcome::Conflict => tally.conflicts += 1,
                }
                tally.latency(latency);
            }
        }
        Ok(())
    }
}
