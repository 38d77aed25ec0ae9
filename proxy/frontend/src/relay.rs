//! Passes a shard's stream of messages on as its bytes come, our header behind each message that has one.
//!
//! No message is held: a RangeStream's may be of many megabytes, and a client that does not read holds no more than the
//! window of its stream at the shard.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use etcd_prism_upstream::{Reply, UpstreamError, reply};
use etcd_prism_wire::frame::{self, FrameError, PREFIX_LEN};
use etcd_prism_wire::{Code, response};
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;

use crate::body::{BodyError, ResponseBody};
use crate::respond;

/// Which messages of a stream get our header, as a patch to append.
#[derive(Debug)]
pub enum Header {
    /// None: a shard is asked as itself.
    Keep,
    /// Each; the header is the message's own field.
    Every(Bytes),
    /// The chunks of a RangeStream that carry one, in the nested RangeResponse. `seen`: one came.
    OfChunks { patch: Bytes, seen: bool },
}

impl Header {
    /// What to append to the message that begins with `start`.
    fn patch(&mut self, start: &[u8]) -> Bytes {
        match self {
            Self::Keep => Bytes::new(),
            Self::Every(patch) => patch.clone(),
            Self::OfChunks { patch, seen } => {
                let has_header = response::chunk_starts_with_header(start);
                *seen |= has_header;
                if has_header { patch.clone() } else { Bytes::new() }
            }
        }
    }

    /// Whether everything that had to be patched was found. A header in a place where it was not looked for went out as
    /// the shard's: the client must not take such an answer for a good one.
    fn complete(&self) -> bool {
        !matches!(self, Self::OfChunks { seen: false, .. })
    }

    /// The error for a message that breaks off. What goes to a shard as itself may have changed something there.
    fn cut_off(&self, text: String) -> BodyError {
        match self {
            Self::Keep => BodyError::internal(text),
            Self::Every(_) | Self::OfChunks { .. } => BodyError::unavailable(text),
        }
    }
}

/// A shard's stream on its way through.
#[derive(Debug)]
pub struct Relay {
    shard: String,
    upstream: Reply,
    messages: Messages,
    over: bool,
}

/// A reply that passes `upstream` on.
pub fn start(upstream: Reply, shard: String, header: Header) -> Response<ResponseBody> {
    let relay = Relay { shard, upstream, messages: Messages::new(header), over: false };
    respond::with_body(ResponseBody::Relay(Box::new(relay)))
}

/// The same, once the first data has come. A status that comes instead is the reply.
///
/// # Errors
/// The connection to the shard was lost before.
pub async fn begin(
    mut upstream: Reply,
    shard: String,
    header: Header,
) -> Result<Response<ResponseBody>, UpstreamError> {
    let lost = |reason: &dyn std::fmt::Display| UpstreamError::ConnectionLost {
        shard: shard.clone(),
        reason: reason.to_string(),
    };
    let frame = upstream.body.frame().await.ok_or_else(|| lost(&"cut off"))?.map_err(|e| lost(&e))?;
    match frame.into_data() {
        Ok(data) => {
            let mut messages = Messages::new(header);
            messages.input = data;
            let relay = Relay { shard, upstream, messages, over: false };
            Ok(respond::with_body(ResponseBody::Relay(Box::new(relay))))
        }
        Err(frame) => Ok(respond::early(frame.into_trailers().unwrap_or_default())),
    }
}

impl Relay {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let end = loop {
            match self.messages.next() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(error) => break Err(self.lost(&error)),
            }
            match ready!(Pin::new(&mut self.upstream.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.messages.input = data,
                    Err(frame) => break Ok(frame.into_trailers().unwrap_or_default()),
                },
                Some(Err(error)) => break Err(self.lost(&error)),
                None => break Err(self.lost(&"cut off")),
            }
        };
        self.over = true;
        Poll::Ready(Some(self.end(end)))
    }

    /// The last frame: the shard's trailers, or the status of what went wrong. In the middle of a message only a reset says
    /// that the rest will not come.
    fn end(&self, end: Result<HeaderMap, UpstreamError>) -> Result<Frame<Bytes>, BodyError> {
        let end = end.and_then(|trailers| match reply::status_of(&trailers) {
            None => Err(self.lost(&"no grpc-status")),
            Some(status) if status.code != Code::Ok => Ok(trailers),
            // Half a message and a success would look like a whole answer.
            Some(_) if self.messages.within() => Err(self.lost(&"message cut off")),
            Some(_) if !self.messages.header.complete() => Err(self.lost(&"no header where it is expected")),
            Some(_) => Ok(trailers),
        });
        match end {
            Err(error) if self.messages.left > 0 => Err(self.messages.header.cut_off(error.to_string())),
            Err(error) => Ok(Frame::trailers(respond::trailers(&error.status()))),
            Ok(trailers) => Ok(Frame::trailers(trailers)),
        }
    }

    fn lost(&self, reason: &dyn std::fmt::Display) -> UpstreamError {
        UpstreamError::ConnectionLost { shard: self.shard.clone(), reason: reason.to_string() }
    }
}

/// Puts patches behind messages while they pass.
#[derive(Debug)]
struct Messages {
    header: Header,
    /// Came and is not passed on yet: one DATA frame. Only set while `next` gives nothing.
    input: Bytes,
    /// The beginning of a message, until it is long enough to decide on its patch.
    start: BytesMut,
    /// Bytes of the current message that are still to be passed on.
    left: usize,
    /// Sent once `left` is 0.
    patch: Bytes,
}

impl Messages {
    fn new(header: Header) -> Self {
        Self { header, input: Bytes::new(), start: BytesMut::new(), left: 0, patch: Bytes::new() }
    }

    /// Whether the stream is in the middle of a message.
    fn within(&self) -> bool {
        self.left > 0 || !self.start.is_empty()
    }

    /// What of the input can be passed on. `None`: more input is needed.
    fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if self.left == 0 && !self.patch.is_empty() {
            return Ok(Some(std::mem::take(&mut self.patch)));
        }
        if self.input.is_empty() {
            return Ok(None);
        }
        if self.left == 0 {
            return self.begin();
        }
        let data = self.input.split_to(self.left.min(self.input.len()));
        self.left -= data.len();
        Ok(Some(data))
    }

    /// Takes the beginning of a message.
    fn begin(&mut self) -> Result<Option<Bytes>, FrameError> {
        self.fill(PREFIX_LEN);
        let Some(prefix) = self.start.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let len = frame::parse_prefix(*prefix, reply::MAX_REPLY)?;
        let wanted = PREFIX_LEN + len.min(response::CHUNK_START);
        self.fill(wanted);
        if self.start.len() < wanted {
            return Ok(None);
        }
        let mut start = std::mem::take(&mut self.start);
        self.patch = self.header.patch(&start[PREFIX_LEN..]);
        self.left = len - (wanted - PREFIX_LEN);
        start[..PREFIX_LEN].copy_from_slice(&frame::prefix(len + self.patch.len()));
        Ok(Some(start.freeze()))
    }

    /// Moves input to `start` until that has `target` bytes.
    fn fill(&mut self, target: usize) {
        let missing = target.saturating_sub(self.start.len()).min(self.input.len());
        self.start.extend_from_slice(&self.input.split_to(missing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_prism_proto::etcdserverpb as pb;
    use etcd_prism_wire::frame::FrameReader;
    use prost::Message;

    fn chunk(keys: usize, header: bool) -> Vec<u8> {
        let kv = |index| etcd_prism_proto::mvccpb::KeyValue {
            key: vec![b'k'; index % 7].into(),
            value: vec![b'v'; index * 13].into(),
            ..Default::default()
        };
        let header = header.then(|| pb::ResponseHeader { revision: 7, ..Default::default() });
        let response = pb::RangeResponse { header, kvs: (0..keys).map(kv).collect(), ..Default::default() };
        pb::RangeStreamResponse { range_response: Some(response) }.encode_to_vec()
    }

    /// What comes out when `stream` goes in, cut into pieces of `size` bytes.
    fn pass(header: Header, stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Messages) {
        let mut messages = Messages::new(header);
        let mut reader = FrameReader::new(1 << 20);
        let mut out = Vec::new();
        for piece in stream.chunks(size) {
            messages.input = Bytes::copy_from_slice(piece);
            while let Some(data) = messages.next().unwrap() {
                reader.push(data);
                while let Some(message) = reader.next_message().unwrap() {
                    out.push(message.to_vec());
                }
            }
        }
        (out, messages)
    }

    #[test]
    fn the_chunk_with_a_header_gets_ours_however_it_is_cut() {
        let patch = Bytes::from_static(&[0x0a, 2, 0x0a, 0]);
        let chunks = [chunk(3, false), chunk(40, false), Vec::new(), chunk(9, true)];
        let stream: Vec<u8> = chunks.iter().flat_map(|c| frame::encode(&[c])).collect();
        for size in 1..400 {
            let header = Header::OfChunks { patch: patch.clone(), seen: false };
            let (out, messages) = pass(header, &stream, size);
            assert_eq!(out[..3], chunks[..3], "pieces of {size}");
            assert_eq!(out[3], [&chunks[3][..], &patch].concat(), "pieces of {size}");
            assert!(!messages.within() && messages.header.complete());
        }
    }

    #[test]
    fn every_message_or_none() {
        let stream = [frame::encode(&[b"a"]), frame::encode(&[]), frame::encode(&[&[b'b'; 100]])].concat();
        let long = vec![b'b'; 100];
        let (out, _) = pass(Header::Every(Bytes::from_static(b"+")), &stream, 9);
        assert_eq!(out, [b"a+".to_vec(), b"+".to_vec(), [&long[..], b"+"].concat()]);
        let (out, _) = pass(Header::Keep, &stream, 9);
        assert_eq!(out, [b"a".to_vec(), Vec::new(), long]);
    }

    #[test]
    fn an_answer_without_its_header_is_not_complete() {
        let stream = frame::encode(&[&chunk(3, false)]);
        let header = Header::OfChunks { patch: Bytes::from_static(b"+"), seen: false };
        let (_, messages) = pass(header, &stream, 50);
        assert!(!messages.header.complete() && !messages.within());
        let (_, messages) = pass(Header::Keep, &stream[..stream.len() - 1], 50);
        assert!(messages.within());
    }
}
