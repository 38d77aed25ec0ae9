//! Watches on which nothing happens.

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::try_join_all;
use h2::{RecvStream, SendStream};
use prost::Message;

use crate::client::connection::{Connection, Method, next};
use crate::client::frames::Frames;
use crate::client::reply::WatchReply;
use crate::client::request;
use crate::error::BenchError;
use crate::load::Order;
use crate::load::population;
use crate::load::tally::Tally;
use crate::load::team::{Seat, Task};
use crate::works::IDLE_CONNECTIONS;

#[derive(Debug)]
pub(crate) struct Load {
    order: Order,
    per_stream: usize,
}

/// An open stream; its watches live as long as both halves.
type Held = (SendStream<Bytes>, RecvStream);

impl Load {
    pub(crate) fn new(order: Order, per_stream: usize) -> Self {
        Self { order, per_stream }
    }

    /// All streams of one connection, with all their watches created.
    async fn connection(&self, number: usize) -> Result<Vec<Held>, BenchError> {
        let mut caller = Connection::open(self.order.address).await?.caller(Method::Watch)?;
        let each = self.order.clients / IDLE_CONNECTIONS;
        let mut streams = Vec::new();
        for first in (number * each..(number + 1) * each).step_by(self.per_stream) {
            let keys = first..first + self.per_stream;
            let (sender, body) = caller.stream(create(first)?).await?;
            streams.push(stream(sender, body, keys).await?);
        }
        Ok(streams)
    }
}

impl Task for Load {
    async fn run(&self, mut seat: Seat) -> Result<Tally, BenchError> {
        let share = seat.share(IDLE_CONNECTIONS);
        let held = try_join_all(share.map(|number| self.connection(number))).await?;
        seat.ready();
        seat.window.closed().await;
        let mut tally = Tally::new()?;
        tally.things = held.iter().flatten().count() as u64 * self.per_stream as u64;
        Ok(tally)
    }
}

/// Creates a watch on each of `keys`; that on the first one is under way.
async fn stream(
    mut sender: SendStream<Bytes>,
    mut body: RecvStream,
    keys: Range<usize>,
) -> Result<Held, BenchError> {
    let mut missing = keys.len();
    for key in keys.skip(1) {
        sender.send_data(create(key)?, false)?;
    }
    let mut frames = Frames::default();
    while missing > 0 {
        frames.push(&next(&mut body).await?.ok_or(BenchError::WatchEnded)?);
        while let Some(message) = frames.next()? {
            let reply = WatchReply::decode(message)?;
            if reply.canceled {
                return Err(BenchError::Canceled(reply.cancel_reason));
            }
            missing -= usize::from(reply.created);
        }
    }
    Ok((sender, body))
}

fn create(key: usize) -> Result<Bytes, BenchError> {
    request::frame(&request::watch_key(population::key(key)))
}
