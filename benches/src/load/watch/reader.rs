//! One watch stream.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use prost::Message;

use crate::client::connection::{Caller, next};
use crate::client::frames::Frames;
use crate::client::reply::WatchReply;
use crate::error::BenchError;
use crate::load::tally::Tally;
use crate::load::watch::board::Board;
use crate::load::window::Window;

#[derive(Debug)]
pub(crate) struct Reader {
    /// A watch lives as long as the client's half of the stream is open.
    _sender: SendStream<Bytes>,
    body: RecvStream,
    frames: Frames,
    board: Arc<Board>,
}

impl Reader {
    /// Opens a stream and waits until its watch is created.
    pub(crate) async fn open(
        caller: &mut Caller,
        create: Bytes,
        board: Arc<Board>,
    ) -> Result<Self, BenchError> {
        let (sender, body) = caller.stream(create).await?;
        let mut reader = Self { _sender: sender, body, frames: Frames::default(), board };
        let reply = reader.reply().await?;
        if !reply.created {
            return Err(BenchError::Incomplete("confirmation of a watch"));
        }
        Ok(reader)
    }

    /// Takes events for as long as the stream lives.
    pub(crate) async fn run(
        mut self,
        window: Arc<Window>,
        tally: Rc<RefCell<Tally>>,
    ) -> Result<Infallible, BenchError> {
        loop {
            let reply = self.reply().await?;
            let is_open = window.is_open();
            for event in reply.events {
                let key = event.kv.ok_or(BenchError::Incomplete("key of an event"))?.key;
                let Some(latency) = self.board.arrived(&key) else { continue };
                if is_open {
                    let mut tally = tally.borrow_mut();
                    tally.things += 1;
                    tally.latency(latency);
                }
            }
        }
    }

    async fn reply(&mut self) -> Result<WatchReply, BenchError> {
        loop {
            if let Some(message) = self.frames.next()? {
                let reply = WatchReply::decode(message)?;
                return if reply.canceled {
                    Err(BenchError::Canceled(reply.cancel_reason))
                } else {
                    Ok(reply)
                };
            }
            let chunk = next(&mut self.body).await?.ok_or(BenchError::WatchEnded)?;
            self.frames.push(&chunk);
        }
    }
}
