//! Waits until a key is the oldest of its name.

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::ResponseHeader;
use etcd_prism_proto::mvccpb::KeyValue;

use super::hint::Hint;
use super::names::{Names, get};
use super::patience::Patience;
use super::{PAUSE, may_pass};
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::typed;
use crate::metrics::Routed;
use crate::place::Grant;

/// A key that waits.
pub(super) struct Waiting<'a> {
    pub(super) names: &'a Names,
    pub(super) key: &'a Bytes,
    /// When it was created.
    pub(super) revision: i64,
}

/// Waits until no key of the name is older than this one. Shards that restart and routes that move are waited for. Returns the
/// header of the read that found the key in its place; `None` if it is gone, with its lease, say.
///
/// # Errors
/// The client's patience is over, the proxy stops, or the keys are not served.
pub(super) async fn turn(
    cx: &Context,
    waiting: &Waiting<'_>,
    patience: &Patience,
    routed: &mut Routed,
) -> Result<Option<ResponseHeader>, RequestError> {
    tokio::select! {
        end = waiting.wait(cx, routed) => end,
        status = patience.over() => Err(status.into()),
    }
}

/// What a look finds.
enum Look {
    /// The youngest of the older keys, by that right.
    Ahead(Grant, KeyValue),
    /// No key is older.
    Over(Option<ResponseHeader>),
}

impl Waiting<'_> {
    async fn wait(&self, cx: &Context, routed: &mut Routed) -> Result<Option<ResponseHeader>, RequestError> {
        let mut hint: Option<Hint> = None;
        loop {
            // Read after the hint was made, so that no end of the key ahead is missed.
            match self.look(cx, routed).await {
                Ok(Look::Ahead(grant, ahead)) => {
                    hint = next_look(cx, &grant, hint, ahead.key, Bytes::new()).await;
                }
                Ok(Look::Over(header)) => return Ok(header),
                Err(error) if may_pass(&error) => {
                    tracing::debug!(%error, "waiting for a turn");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn look(&self, cx: &Context, routed: &mut Routed) -> Result<Look, RequestError> {
        let Self { names, key, revision } = *self;
        let request = names.ahead_of(revision);
        let (grant, reply) = typed::range(cx, &names.footprint, &request, "a lock", routed).await?;
        if let Some(ahead) = reply.kvs.into_iter().next() {
            return Ok(Look::Ahead(grant, ahead));
        }
        // Nothing older will come. If the key is there after that, it is the oldest.
        let (_, reply) = typed::range(cx, &names.footprint, &get(key), "a lock", routed).await?;
        let is_there = reply.kvs.first().is_some_and(|kv| kv.create_revision == revision);
        Ok(Look::Over(reply.header.filter(|_| is_there)))
    }
}

/// Returns when it is time to look again at what was just read: at once with a new hint, or when the one there was says so.
pub(super) async fn next_look(
    cx: &Context,
    grant: &Grant,
    hint: Option<Hint>,
    key: Bytes,
    range_end: Bytes,
) -> Option<Hint> {
    let found = match hint {
        Some(mut hint) if hint.is_on(cx, grant, &key, &range_end) => hint.wait(cx).await.map(|()| hint),
        _ => Hint::on(cx, grant, key, range_end).await,
    };
    match found {
        Ok(hint) => Some(hint),
        Err(error) => {
            tracing::debug!(%error, "a hint was lost");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}
