//! Clients that read everything, over and over.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use crate::client::connection::{Caller, Connection, Method};
use crate::client::request;
use crate::error::BenchError;
use crate::load::Order;
use crate::load::tally::Tally;
use crate::load::team::{Seat, Task};
use crate::load::window::Window;

#[derive(Debug)]
pub(crate) struct Load {
    order: Order,
}

impl Load {
    pub(crate) fn new(order: Order) -> Self {
        Self { order }
    }
}

impl Task for Load {
    async fn run(&self, mut seat: Seat) -> Result<Tally, BenchError> {
        let frame = request::frame(&request::list())?;
        let tally = Rc::new(RefCell::new(Tally::new()?));
        let mut callers = Vec::new();
        for _ in seat.share(self.order.clients) {
            callers.push(Connection::open(self.order.address).await?.caller(Method::Range)?);
        }
        // The first lists are the slowest, and may take longer than the whole warm-up.
        try_join_all(callers.iter_mut().map(|caller| caller.read(frame.clone(), drop))).await?;
        seat.ready();
        let mut tasks = JoinSet::new();
        for caller in callers {
            tasks.spawn_local(list(caller, frame.clone(), seat.window.clone(), tally.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended.map_err(|_| BenchError::LoadDied)??;
        }
        Ok(Rc::unwrap_or_clone(tally).into_inner())
    }
}

async fn list(
    mut caller: Caller,
    frame: Bytes,
    window: Arc<Window>,
    tally: Rc<RefCell<Tally>>,
) -> Result<(), BenchError> {
    while !window.is_closed() {
        let start = Instant::now();
        // Bytes count as they come: a list may take longer than the window is open.
        let count = |chunk: Bytes| {
            if window.is_open() {
                tally.borrow_mut().things += chunk.len() as u64;
            }
        };
        caller.read(frame.clone(), count).await?;
        if window.is_open() {
            tally.borrow_mut().latency(start.elapsed());
        }
    }
    Ok(())
}
