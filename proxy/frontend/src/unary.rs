//! Reads the one message of a unary request.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use etcd_prism_wire::frame::{self, PREFIX_LEN};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::error::RequestError;

/// Longest time a client may take to send a request: generous, and still an end to a connection that drips.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request message and its frame, in the memory it arrived in.
#[derive(Debug, Clone)]
pub struct UnaryRequest {
    /// Prefix and message.
    pub frame: Bytes,
}

impl UnaryRequest {
    pub fn message(&self) -> &[u8] {
        &self.frame[PREFIX_LEN..]
    }

    /// The frame with `patch` appended to the message. Sound only after a strict scan.
    pub fn patched(&self, patch: &[u8]) -> Bytes {
        if patch.is_empty() { self.frame.clone() } else { frame::encode(&[self.message(), patch]) }
    }
}

/// Reads the message; `max` is the longest accepted, in bytes.
pub async fn read(body: Incoming, max: usize) -> Result<UnaryRequest, RequestError> {
    tokio::time::timeout(PATIENCE, read_frame(body, max)).await.map_err(|_| RequestError::Slow)?
}

async fn read_frame(mut body: Incoming, max: usize) -> Result<UnaryRequest, RequestError> {
    let mut gathered = BytesMut::new();
    loop {
        let Some(frame) = body.frame().await else { return Err(RequestError::CutOff) };
        let Ok(data) = frame.map_err(|_| RequestError::CutOff)?.into_data() else { continue };
        // The usual request lies in one chunk and is not copied.
        let gathered_so_far: &[u8] = if gathered.is_empty() { &data } else { &gathered };
        if gathered.is_empty() && complete(gathered_so_far, max)? == Some(data.len()) {
            return Ok(UnaryRequest { frame: data });
        }
        gathered.extend_from_slice(&data);
        if let Some(len) = complete(&gathered, max)? {
            gathered.truncate(len);
            return Ok(UnaryRequest { frame: gathered.freeze() });
        }
    }
}

/// The length of the whole frame if `buf` holds all of it.
fn complete(buf: &[u8], max: usize) -> Result<Option<usize>, RequestError> {
    let Some(prefix) = buf.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let len = PREFIX_LEN + frame::parse_prefix(*prefix, max)?;
    Ok((buf.len() >= len).then_some(len))
}
