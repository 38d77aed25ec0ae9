//! What one client of a unary work sends, one request after the other.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{TxnResponse, response_op::Response};
use prost::Message;

use crate::client::connection::Method;
use crate::client::reply::TxnReply;
use crate::client::request::{self, PREFIX};
use crate::error::BenchError;
use crate::load::population;
use crate::works::{Call, RANGE_KEYS};

/// How many objects of its own a client updates or puts, in turns.
const OBJECTS: usize = 8;
/// How many prepared reads a client sends in turns.
const READS: usize = 64;

/// The requests of one client.
#[derive(Debug)]
pub(crate) enum Script {
    /// Prepared requests, in turns.
    Fixed { method: Method, frames: Vec<Bytes>, next: usize },
    /// A new object each time.
    Create { stem: String, value: Bytes, next: u64 },
    /// Objects in turns, each with the revision of its last write (0: not there).
    Update { objects: Vec<(Bytes, i64)>, value: Bytes, next: usize },
}

/// What a reply means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The object was not as expected.
    Conflict,
}

impl Script {
    /// Of client number `client` in the run numbered `serial`.
    pub(crate) fn new(call: Call, value: usize, client: usize, serial: u32) -> Result<Self, BenchError> {
        let own = |object: usize| Bytes::from(format!("{PREFIX}{client:03}/{object}"));
        let script = match call {
            Call::Create => Self::Create {
                stem: format!("{PREFIX}{serial}/{client:03}/"),
                value: population::value(value),
                next: 0,
            },
            Call::Update => Self::Update {
                objects: (0..OBJECTS).map(|object| (own(object), 0)).collect(),
                value: population::value(value),
                next: 0,
            },
            Call::Range => {
                // Spread over all keys, and different for each client.
                let key = |n: usize| population::key((client * READS + n * 97) % RANGE_KEYS);
                let frames =
                    (0..READS).map(|n| request::frame(&request::get(key(n)))).collect::<Result<_, _>>()?;
                Self::Fixed { method: Method::Range, frames, next: 0 }
            }
            Call::Put => {
                let value = population::value(value);
                let frame = |object| request::frame(&request::put(own(object), value.clone()));
                let frames = (0..OBJECTS).map(frame).collect::<Result<_, _>>()?;
                Self::Fixed { method: Method::Put, frames, next: 0 }
            }
        };
        Ok(script)
    }

    pub(crate) fn method(&self) -> Method {
        match self {
            Self::Fixed { method, .. } => *method,
            Self::Create { .. } | Self::Update { .. } => Method::Txn,
        }
    }

    /// The next request, as a gRPC frame.
    pub(crate) fn next(&mut self) -> Result<Bytes, BenchError> {
        match self {
            Self::Fixed { frames, next, .. } => {
                *next = (*next + 1) % frames.len();
                Ok(frames[*next].clone())
            }
            Self::Create { stem, value, next } => {
                *next += 1;
                request::frame(&request::create(Bytes::from(format!("{stem}{next}")), value.clone()))
            }
            Self::Update { objects, value, next } => {
                *next = (*next + 1) % objects.len();
                let (key, revision) = &objects[*next];
                request::frame(&request::update(key.clone(), value.clone(), *revision))
            }
        }
    }

    /// How many requests it takes until the client knows its objects.
    pub(crate) fn rehearsal(&self) -> usize {
        if let Self::Update { objects, .. } = self { objects.len() } else { 0 }
    }

    /// Takes the reply to the last request.
    pub(crate) fn take(&mut self, reply: Bytes) -> Result<Outcome, BenchError> {
        match self {
            Self::Fixed { .. } => Ok(Outcome::Done),
            Self::Create { .. } => match TxnReply::decode(reply)?.succeeded {
                true => Ok(Outcome::Done),
                false => Ok(Outcome::Conflict),
            },
            Self::Update { objects, next, .. } => {
                let revision = &mut objects[*next].1;
                let txn = TxnReply::decode(reply.clone())?;
                if txn.succeeded {
                    *revision = txn.header.ok_or(BenchError::Incomplete("header"))?.revision;
                    return Ok(Outcome::Done);
                }
                *revision = found(reply)?;
                Ok(Outcome::Conflict)
            }
        }
    }
}

/// The modification revision in the reply of the read that was made instead of the update; 0 if there is no such object.
fn found(reply: Bytes) -> Result<i64, BenchError> {
    let read = TxnResponse::decode(reply)?.responses.pop().and_then(|operation| operation.response);
    match read {
        Some(Response::ResponseRange(range)) => Ok(range.kvs.first().map_or(0, |kv| kv.mod_revision)),
        _ => Err(BenchError::Incomplete("read after a conflict")),
    }
}

#[cfg(test)]
mod tests;
