//! gRPC's length-prefixed messages.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes in front of each message: a compression flag and a big-endian length.
pub const PREFIX_LEN: usize = 5;

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// grpc-go's text for a server without the codec (the proxy offers none: it never touches compressed bytes).
    #[error("grpc: compressed flag set with identity or empty encoding")]
    Compressed,
    #[error("grpc: invalid compression flag {0}")]
    Flag(u8),
    /// grpc-go's text; both numbers in bytes.
    #[error("grpc: received message larger than max ({len} vs. {max})")]
    TooLarge { len: usize, max: usize },
}

/// The frame prefix of an uncompressed message of `len` bytes.
#[inline]
pub fn prefix(len: usize) -> [u8; PREFIX_LEN] {
    let [a, b, c, d] = (len as u32).to_be_bytes();
    [0, a, b, c, d]
}

/// Reads the message length from a complete prefix.
pub fn parse_prefix(prefix: [u8; PREFIX_LEN], max: usize) -> Result<usize, FrameError> {
    match prefix[0] {
        0 => {}
        1 => return Err(FrameError::Compressed),
        flag => return Err(FrameError::Flag(flag)),
    }
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if len > max { Err(FrameError::TooLarge { len, max }) } else { Ok(len) }
}

/// Puts a message and its prefix into one buffer.
pub fn encode(parts: &[&[u8]]) -> Bytes {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = BytesMut::with_capacity(PREFIX_LEN + len);
    out.extend_from_slice(&prefix(len));
    for part in parts {
        out.extend_from_slice(part);
    }
    out.freeze()
}

/// Cuts a byte stream into messages. Holds at most one message and one chunk.
#[derive(Debug)]
pub struct FrameReader {
    /// The bytes not yet handed out, when they lie in one chunk: the usual case, and no copy.
    chunk: Bytes,
    /// A message that is spread over chunks.
    partial: BytesMut,
    max: usize,
}

impl FrameReader {
    /// `max`: longest message accepted, in bytes.
    pub fn new(max: usize) -> Self {
        Self { chunk: Bytes::new(), partial: BytesMut::new(), max }
    }

    /// Adds a chunk. Call [`next_message`](Self::next_message) until it gives `None` before adding another, to keep the bound.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.extend_from_slice(&self.chunk);
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// The next complete message, or `None` when more bytes are needed.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.partial.is_empty() {
            match self.length_at_front(&self.chunk)? {
                Some(len) if self.chunk.len() >= PREFIX_LEN + len => {
                    self.chunk.advance(PREFIX_LEN);
                    return Ok(Some(self.chunk.split_to(len)));
                }
                _ if self.chunk.is_empty() => return Ok(None),
                _ => {}
            }
        }
        // Complete the prefix first: only then is the length known.
        self.fill(PREFIX_LEN);
        let Some(len) = self.length_at_front(&self.partial)? else { return Ok(None) };
        // The declared length is a claim: memory is taken as the bytes come.
        self.fill(PREFIX_LEN + len);
        if self.partial.len() < PREFIX_LEN + len {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.partial).freeze();
        message.advance(PREFIX_LEN);
        Ok(Some(message))
    }

    /// True when no bytes wait: the stream may end here.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.partial.is_empty()
    }

    fn fill(&mut self, target: usize) {
        let missing = target.saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
    }

    fn length_at_front(&self, buf: &[u8]) -> Result<Option<usize>, FrameError> {
        match buf.first_chunk::<PREFIX_LEN>() {
            Some(prefix) => parse_prefix(*prefix, self.max).map(Some),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cuts in prop::collection::vec(1usize..30, 0..60),
        ) {
            let mut stream: Vec<u8> = messages.iter().flat_map(|m| encode(&[m]).to_vec()).collect();
            let mut reader = FrameReader::new(1024);
            let mut got = Vec::new();
            let mut cuts = cuts.into_iter();
            while !stream.is_empty() {
                let n = cuts.next().unwrap_or(7).min(stream.len());
                reader.push(Bytes::from(stream.drain(..n).collect::<Vec<_>>()));
                while let Some(message) = reader.next_message().unwrap() {
                    got.push(message.to_vec());
                }
            }
            prop_assert!(reader.is_empty());
            prop_assert_eq!(got, messages);
        }
    }

    #[test]
    fn refuses_what_it_must() {
        let mut reader = FrameReader::new(3);
        reader.push(encode(&[b"abcd"]));
        assert_eq!(reader.next_message(), Err(FrameError::TooLarge { len: 4, max: 3 }));
        let mut reader = FrameReader::new(3);
        reader.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(reader.next_message(), Err(FrameError::Compressed));
    }
}
