//! One writer: its next write waits until the last one has reached every watcher.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::client::connection::Caller;
use crate::client::request;
use crate::error::BenchError;
use crate::load::population;
use crate::load::watch::board::Board;

/// No rung takes this long; an event that does is lost.
const LOST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Writer {
    caller: Caller,
    number: usize,
    frame: Bytes,
    board: Arc<Board>,
}

impl Writer {
    pub(crate) fn new(
        caller: Caller,
        number: usize,
        value: usize,
        board: Arc<Board>,
    ) -> Result<Self, BenchError> {
        let frame = request::frame(&request::put(Board::key(number), population::value(value)))?;
        Ok(Self { caller, number, frame, board })
    }

    /// Writes until it is dropped.
    pub(crate) async fn run(mut self) -> Result<Infallible, BenchError> {
        loop {
            self.board.sent(self.number);
            self.caller.call(self.frame.clone()).await?;
            let seen = timeout(LOST, self.board.seen(self.number)).await;
            seen.map_err(|_| BenchError::EventLost { seconds: LOST.as_secs() })?;
        }
    }
}
