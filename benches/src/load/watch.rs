//! Many identical watchers, and writers that wait until everybody has seen what they wrote.

mod board;
mod reader;
mod writer;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use prost::Message;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::client::connection::{Connection, Method};
use crate::client::reply::Headed;
use crate::client::request;
use crate::error::BenchError;
use crate::load::Order;
use crate::load::population;
use crate::load::tally::Tally;
use crate::load::team::{Seat, Task};
use crate::load::watch::board::Board;
use crate::load::watch::reader::Reader;
use crate::load::watch::writer::Writer;
use crate::works::{WATCH_CONNECTIONS, WATCH_WRITERS};

#[derive(Debug)]
pub(crate) struct Load {
    order: Order,
    /// Where the watches start.
    revision: i64,
    value: usize,
    board: Arc<Board>,
    /// Nobody writes before everybody watches.
    watching: Barrier,
}

impl Load {
    pub(crate) async fn new(order: Order, value: usize) -> Result<Self, BenchError> {
        let mut caller = Connection::open(order.address).await?.caller(Method::Range)?;
        let reply = Headed::decode(caller.call(request::frame(&request::get(population::key(0)))?).await?)?;
        let revision = reply.header.ok_or(BenchError::Incomplete("header"))?.revision + 1;
        let board = Arc::new(Board::new(WATCH_WRITERS, order.clients));
        Ok(Self { order, revision, value, board, watching: Barrier::new(order.threads) })
    }
}

impl Task for Load {
    async fn run(&self, mut seat: Seat) -> Result<Tally, BenchError> {
        let frame = request::frame(&request::watch(self.revision))?;
        let tally = Rc::new(RefCell::new(Tally::new()?));
        let mut tasks = JoinSet::new();
        for connection in seat.share(WATCH_CONNECTIONS) {
            let mut caller = Connection::open(self.order.address).await?.caller(Method::Watch)?;
            for _ in (connection..self.order.clients).step_by(WATCH_CONNECTIONS) {
                let reader = Reader::open(&mut caller, frame.clone(), self.board.clone()).await?;
                tasks.spawn_local(reader.run(seat.window.clone(), tally.clone()));
            }
        }
        let caller = Connection::open(self.order.address).await?.caller(Method::Put)?;
        tokio::select! {
            _ = self.watching.wait() => {}
            () = seat.window.closed() => return Ok(Rc::unwrap_or_clone(tally).into_inner()),
        }
        seat.ready();
        for number in seat.share(WATCH_WRITERS) {
            let writer = Writer::new(caller.clone(), number, self.value, self.board.clone())?;
            tasks.spawn_local(writer.run());
        }
        // Readers and writers wait for each other across threads, so none is waited for once the window is closed.
        tokio::select! {
            Some(ended) = tasks.join_next() => match ended {
                Ok(Err(error)) => return Err(error),
                Ok(Ok(never)) => match never {},
                Err(_) => return Err(BenchError::LoadDied),
            },
            () = seat.window.closed() => {}
        }
        tasks.shutdown().await;
        Ok(Rc::unwrap_or_clone(tally).into_inner())
    }
}
