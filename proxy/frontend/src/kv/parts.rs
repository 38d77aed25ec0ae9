//! A message that is held in parts, so that a large one is never copied into one piece.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use etcd_prism_wire::frame::{self, PREFIX_LEN};
use etcd_prism_wire::translate::Pieces;
use http::Response;

use crate::body::ResponseBody;
use crate::respond;

/// Messages up to this size, in bytes, leave in one frame with what belongs to them: a frame of its own costs more than a copy.
const JOINED: usize = 64 << 10;

/// A message without the gRPC prefix, in order.
#[derive(Debug, Default)]
pub struct Parts {
    parts: VecDeque<Bytes>,
    len: usize,
}

impl Parts {
    pub fn push(&mut self, part: Bytes) {
        self.len += part.len();
        if !part.is_empty() {
            self.parts.push_back(part);
        }
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.len
    }

    /// The next bytes of the message; what was taken is held no longer.
    pub fn take_next(&mut self) -> Option<Bytes> {
        let part = self.parts.pop_front()?;
        self.len -= part.len();
        Some(part)
    }

    /// All that is left in one buffer. Copies, unless it is one part.
    pub fn into_bytes(mut self) -> Bytes {
        if self.parts.len() == 1 {
            return self.take_next().unwrap_or_default();
        }
        let mut joined = BytesMut::with_capacity(self.len);
        self.parts.iter().for_each(|part| joined.extend_from_slice(part));
        joined.freeze()
    }

    /// A reply of this message, with `patch` behind it.
    pub fn into_response(mut self, patch: &Bytes) -> Response<ResponseBody> {
        let len = self.len + patch.len();
        let prefix = frame::prefix(len);
        if len > JOINED {
            self.parts.push_front(Bytes::copy_from_slice(&prefix));
            self.len += PREFIX_LEN;
            self.push(patch.clone());
            return respond::parts(self);
        }
        let mut data = BytesMut::with_capacity(PREFIX_LEN + len);
        data.extend_from_slice(&prefix);
        self.parts.iter().for_each(|part| data.extend_from_slice(part));
        data.extend_from_slice(patch);
        respond::ready(data.freeze())
    }
}

impl From<Pieces> for Parts {
    fn from(pieces: Pieces) -> Self {
        let mut parts = Self::default();
        parts.push(pieces.into_bytes());
        parts
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn check(sizes: &[usize]) {
        let mut parts = Parts::default();
        for (i, size) in sizes.iter().enumerate() {
            parts.push(Bytes::from(vec![i as u8; *size]));
        }
        let patch = Bytes::from_static(b"patch");
        let mut message: Vec<u8> = sizes.iter().enumerate().flat_map(|(i, n)| vec![i as u8; *n]).collect();
        assert_eq!(parts.remaining(), message.len());
        message.extend_from_slice(&patch);
        let body = parts.into_response(&patch).into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()[respond::GRPC_STATUS], "0");
        let data = body.to_bytes();
        let prefix = data.first_chunk::<PREFIX_LEN>().unwrap();
        assert_eq!(frame::parse_prefix(*prefix, usize::MAX), Ok(message.len()));
        assert_eq!(data[PREFIX_LEN..], message);
    }

    #[tokio::test]
    async fn a_reply_is_one_message_however_large() {
        for sizes in [&[][..], &[0], &[10], &[10, 0, 20], &[JOINED], &[JOINED, 1], &[300_000, 7, 300_000]] {
            check(sizes).await;
        }
    }

    #[test]
    fn what_is_left_is_told() {
        let mut parts = Parts::default();
        [&b"ab"[..], b"", b"cde"].into_iter().for_each(|part| parts.push(Bytes::from_static(part)));
        assert_eq!(parts.take_next().as_deref(), Some(&b"ab"[..]));
        assert_eq!((parts.remaining(), parts.into_bytes().as_ref()), (3, &b"cde"[..]));
    }
}
