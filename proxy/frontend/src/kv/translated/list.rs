//! Long lists, translated while they come.
//!
//! How long a reply will be is told before its first byte, and that is known only once all of it was translated: so it is
//! held. But it is not copied from one large buffer into another: what comes is cut between pairs into segments that a CPU's
//! cache holds, and each is translated at once. Provenance that is not known ends that, because it is read best for all keys
//! together: the rest is read whole.

use bytes::{Bytes, BytesMut};
use etcd_prism_routing::ShardId;
use etcd_prism_wire::field;
use etcd_prism_wire::response;
use etcd_prism_wire::translate::{Header, Kind};
use etcd_prism_wire::{Code, Status};

use super::{MAX_HELD, Sent, hold, turn};
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::exchange::Answer;
use crate::kv::open::Opened;
use crate::kv::parts::Parts;
use crate::provenance::{self, Known, Reign, Translated};

/// Bytes that are translated at once; a segment ends with the first pair behind.
const SEGMENT: usize = 128 << 10;
/// What comes in one frame, as a rule, in bytes.
const FRAME: usize = 16 << 10;

/// Reads and translates what a shard answered to a Range.
///
/// # Errors
/// As [`provenance::translate()`]; a message above [`MAX_HELD`] is `ResourceExhausted`.
pub(super) async fn translate(
    cx: &Context,
    reign: Reign<'_>,
    shard: ShardId,
    kind: Kind<'_>,
    answer: Answer,
    header: Header,
) -> Result<Answer, RequestError> {
    let shard = &cx.worker.pool(shard).shard().name;
    match answer {
        Answer::Open(opened) if matches!(kind, Kind::Range) && opened.message_len() > 2 * SEGMENT => {
            let _turn = turn(cx, &opened).await?;
            List::new(cx, reign, opened, header, shard).translated().await.map(Answer::Parts)
        }
        answer => match hold(cx, answer, shard).await? {
            Sent::Early(early) => Ok(early),
            Sent::Message(held) => {
                let pieces = provenance::translate(cx, reign, kind, &held.message, header).await?;
                Ok(Answer::Parts(pieces.into()))
            }
        },
    }
}

/// A list on its way from the shard.
struct List<'a> {
    cx: &'a Context,
    reign: Reign<'a>,
    shard: &'a str,
    opened: Opened,
    header: Header,
    known: Known<'a>,
    /// The raw revision in its header, once that has come.
    revision: Option<i64>,
    /// What has come and is not translated.
    segment: BytesMut,
    /// Bytes of it that are whole fields.
    whole: usize,
    parts: Parts,
}

impl<'a> List<'a> {
    fn new(cx: &'a Context, reign: Reign<'a>, opened: Opened, header: Header, shard: &'a str) -> Self {
        let segment = BytesMut::with_capacity(SEGMENT + FRAME);
        let (known, parts) = (Known::new(cx, reign), Parts::default());
        Self { cx, reign, shard, opened, header, known, revision: None, segment, whole: 0, parts }
    }

    async fn translated(mut self) -> Result<Parts, RequestError> {
        let len = self.opened.message_len();
        if len > MAX_HELD {
            let text = format!("grpc: received message larger than max ({len} vs. {MAX_HELD})");
            return Err(Status::new(Code::ResourceExhausted, text).into());
        }
        while let Some(data) = self.opened.next(self.shard).await? {
            self.segment.extend_from_slice(&data);
            if self.segment.len() < SEGMENT {
                continue;
            }
            self.whole += field::whole(&self.segment[self.whole..]);
            if self.whole == 0 {
                continue;
            }
            let message = self.segment.split_to(std::mem::take(&mut self.whole)).freeze();
            if !self.part(&message)? {
                return self.rest(message).await;
            }
        }
        self.finish().await
    }

    /// Translates a part of the list; `false`: provenance has to be read first.
    fn part(&mut self, message: &Bytes) -> Result<bool, RequestError> {
        self.note_revision(message)?;
        match self.known.reply(Kind::Range, message, self.header)? {
            Translated::Whole(pieces) => self.parts.push(pieces.into_bytes()),
            Translated::Unread(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Reads the list to its end and translates what is behind the parts that were, `begun` first.
    async fn rest(mut self, begun: Bytes) -> Result<Parts, RequestError> {
        let left = begun.len() + self.segment.len() + self.opened.message_len() + self.opened.patch.len();
        let mut message = BytesMut::with_capacity(left);
        message.extend_from_slice(&begun);
        drop(begun);
        message.extend_from_slice(&self.segment);
        while let Some(data) = self.opened.next(self.shard).await? {
            message.extend_from_slice(&data);
        }
        self.segment = message;
        self.finish().await
    }

    /// Translates what has come and is not translated, once all has come; with the header, if the shard put that elsewhere.
    async fn finish(mut self) -> Result<Parts, RequestError> {
        if self.opened.is_headless {
            self.segment.extend_from_slice(&self.opened.patch);
        }
        let message = self.segment.split().freeze();
        let revision = self.note_revision(&message)?;
        loop {
            match self.known.reply(Kind::Range, &message, self.header)? {
                Translated::Whole(pieces) => {
                    self.parts.push(pieces.into_bytes());
                    return Ok(self.parts);
                }
                Translated::Unread(keys) => self.known.read(revision, keys).await?,
            }
        }
    }

    /// The raw revision of the header, which comes first.
    fn note_revision(&mut self, message: &Bytes) -> Result<i64, RequestError> {
        if let Some(revision) = self.revision {
            return Ok(revision);
        }
        let of = if self.opened.is_headless { &self.opened.patch } else { message };
        let revision = response::revision(of).map_err(|error| self.bad(&error))?;
        self.revision = Some(revision);
        Ok(revision)
    }

    fn bad(&self, error: &dyn std::fmt::Display) -> RequestError {
        self.reign.bad(self.cx, error)
    }
}
