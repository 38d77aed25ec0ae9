//! What goes to the client, in an order that it can read.
//!
//! A response may come in declared fragments. Clients drop whatever they get between two fragments of one response, so
//! everything else waits behind the last one.

use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use etcd_prism_routing::ShardId;
use etcd_prism_wire::Status;

use crate::queue::Sender;

/// Whose message it is: a watcher, and for what a shard sent also the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub id: i64,
    pub shard: Option<ShardId>,
}

impl Source {
    /// A message of the proxy's own.
    pub(super) fn own(id: i64) -> Self {
        Self { id, shard: None }
    }

    pub(super) fn of(id: i64, shard: ShardId) -> Self {
        Self { id, shard: Some(shard) }
    }
}

/// A message that waits behind a partial response.
struct Behind {
    source: Source,
    frame: Bytes,
    more: bool,
}

/// The client's queue.
pub(super) struct Outbox {
    out: Option<Sender>,
    /// The source of the response that the client has a part of.
    partial: Option<Source>,
    behind: Vec<Behind>,
    behind_bytes: usize,
    /// Bytes of the newest message.
    newest: usize,
}

impl Outbox {
    pub(super) fn new(out: Sender) -> Self {
        Self { out: Some(out), partial: None, behind: Vec::new(), behind_bytes: 0, newest: 0 }
    }

    /// Queues a message, or with `more` a part of one whose rest is to come.
    pub(super) fn push(&mut self, source: Source, frame: Bytes, more: bool) {
        if self.partial.is_some_and(|partial| partial != source) {
            self.behind_bytes += frame.len();
            self.behind.push(Behind { source, frame, more });
            return;
        }
        self.newest = frame.len();
        if let Some(out) = &self.out {
            out.push(frame);
        }
        let ends = self.partial.is_some() && !more;
        self.partial = more.then_some(source);
        if ends {
            self.flush();
        }
    }

    /// The watcher is no more: the rest of its response will not come, and the client does not wait for it.
    pub(super) fn forget(&mut self, id: i64) {
        self.behind.retain(|b| b.source.id != id);
        if self.partial.is_some_and(|partial| partial.id == id) {
            self.partial = None;
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.behind_bytes = 0;
        for Behind { source, frame, more } in std::mem::take(&mut self.behind) {
            self.push(source, frame, more);
        }
    }

    /// Whether the client has, or will have, a part of a response of this source that was not ended.
    pub(super) fn has_part_of(&self, source: Source) -> bool {
        let last = self.behind.iter().rev().find(|b| b.source == source);
        last.map_or(self.partial == Some(source), |b| b.more)
    }

    /// The source of the response that the client has a part of.
    pub(super) fn partial(&self) -> Option<Source> {
        self.partial
    }

    /// Bytes that wait behind it.
    pub(super) fn behind_bytes(&self) -> usize {
        self.behind_bytes
    }

    /// Bytes queued that the client has not taken, the newest message aside: that one it could not have taken yet.
    pub(super) fn backlog(&self) -> usize {
        self.out.as_ref().map_or(0, Sender::queued).saturating_sub(self.newest)
    }

    /// See [`Sender::poll_drained`].
    pub(super) fn poll_drained(&self, cx: &mut TaskContext<'_>, limit: usize) -> Poll<bool> {
        self.out.as_ref().map_or(Poll::Pending, |out| out.poll_drained(cx, limit))
    }

    /// See [`Sender::poll_gone`].
    pub(super) fn poll_gone(&self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.out.as_ref().map_or(Poll::Pending, |out| out.poll_gone(cx))
    }

    /// Ends the stream with a status, behind what is queued.
    pub(super) fn finish(&mut self, status: &Status) {
        if let Some(out) = self.out.take() {
            out.finish(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue;

    fn sent(receiver: &mut queue::Receiver) -> String {
        let mut out = String::new();
        while let Poll::Ready(Some(frame)) =
            receiver.poll_frame(&mut TaskContext::from_waker(std::task::Waker::noop()))
        {
            out.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        out
    }

    #[test]
    fn nothing_comes_between_fragments() {
        let (sender, mut receiver) = queue::queue();
        let mut outbox = Outbox::new(sender);
        let (a, b) = (Source::of(1, ShardId(0)), Source::of(1, ShardId(1)));
        let mut push =
            |source, text: &'static str, more| outbox.push(source, Bytes::from_static(text.as_bytes()), more);
        push(a, "a1 ", true);
        push(b, "b1 ", true);
        push(Source::own(2), "created ", false);
        push(a, "a2 ", false);
        assert_eq!(sent(&mut receiver), "a1 a2 b1 ");
        outbox.push(b, Bytes::from_static(b"b2 "), false);
        assert_eq!(sent(&mut receiver), "b2 created ");
        assert_eq!(outbox.partial(), None);
    }

    #[test]
    fn a_watcher_that_is_gone_holds_nothing_up() {
        let (sender, mut receiver) = queue::queue();
        let mut outbox = Outbox::new(sender);
        outbox.push(Source::of(1, ShardId(0)), Bytes::from_static(b"a1 "), true);
        outbox.push(Source::of(2, ShardId(1)), Bytes::from_static(b"b "), false);
        assert!(
            outbox.has_part_of(Source::of(1, ShardId(0))) && !outbox.has_part_of(Source::of(2, ShardId(1)))
        );
        outbox.forget(1);
        assert_eq!(sent(&mut receiver), "a1 b ");
    }
}
