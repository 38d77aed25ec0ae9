//! Clients that call and wait for the answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::client::connection::{Caller, Connection};
use crate::error::BenchError;
use crate::load::Order;
use crate::load::pace::Pace;
use crate::load::script::{Outcome, Script};
use crate::load::tally::Tally;
use crate::load::team::{Seat, Task};
use crate::load::window::Window;

/// Clients share connections, as the requests of an API server do.
const CLIENTS_PER_CONNECTION: usize = 4;
const MOST_CONNECTIONS: usize = 16;

#[derive(Debug)]
pub(crate) struct Load {
    order: Order,
    connections: usize,
}

impl Load {
    pub(crate) fn new(order: Order) -> Self {
        let connections = order.clients.div_ceil(CLIENTS_PER_CONNECTION).min(MOST_CONNECTIONS);
        Self { order, connections }
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
        let Order { work, clients, address, serial, .. } = self.order;
        let tally = Rc::new(RefCell::new(Tally::new()?));
        let mut calls = Vec::new();
        for connection in seat.share(self.connections) {
            let open = Connection::open(address).await?;
            for client in (connection..clients).step_by(self.connections) {
                let script = Script::new(work, client, serial)?;
                calls.push((client, open.caller(script.method())?, script));
            }
        }
        seat.ready();
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (client, caller, script) in calls {
            let pace = self.pace(client, start);
            tasks.spawn_local(call(caller, script, pace, seat.window.clone(), tally.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|_| BenchError::LoadDied)??;
        }
        Ok(Rc::unwrap_or_clone(tally).into_inner())
    }
}

async fn call(
    mut caller: Caller,
    mut script: Script,
    mut pace: Pace,
    window: Arc<Window>,
    tally: Rc<RefCell<Tally>>,
) -> Result<(), BenchError> {
    while !window.is_closed() {
        let request = script.next()?;
        let start = pace.turn(&window).await;
        let reply = caller.call(request).await?;
        let latency = start.elapsed();
        let outcome = script.take(reply)?;
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
