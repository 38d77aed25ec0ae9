//! gRPC messages out of chunks of bytes.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::BenchError;

const PREFIX: usize = 5;

/// Puts together the messages of a stream.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next message, once it is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, BenchError> {
        let Some(&[compressed, a, b, c, d]) = self.buffer.first_chunk::<PREFIX>() else { return Ok(None) };
        if compressed != 0 {
            return Err(BenchError::Frame { bytes: self.buffer.len() });
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// The only message of a body.
pub(crate) fn message(mut body: Bytes) -> Result<Bytes, BenchError> {
    match body.first_chunk::<PREFIX>() {
        Some(&[0, a, b, c, d]) if u32::from_be_bytes([a, b, c, d]) as usize + PREFIX == body.len() => {
            body.advance(PREFIX);
            Ok(body)
        }
        _ => Err(BenchError::Frame { bytes: body.len() }),
    }
}

#[cfg(test)]
mod tests;
