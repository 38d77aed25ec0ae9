//! What clients know of keys that came to their shard with a copy, and the translation of replies, which needs it.
//!
//! The records lie on the shard beside the keys. They do not change while the shard rules, so what was read at any revision
//! within a reign is true for all of it, and is remembered.

mod cache;
mod fetch;

use std::collections::HashMap;

use bytes::Bytes;
use etcd_prism_control::{At, RouteLine};
use etcd_prism_routing::{RouteId, ShardId};
use etcd_prism_upstream::UpstreamError;
use etcd_prism_wire::response;
use etcd_prism_wire::translate::{self, Header, Kind, Line, Lookup, Pieces, ReplyError};

pub use cache::Cache;

use crate::context::Context;
use crate::error::{RequestError, compacted};
use crate::place::Moved;

/// One reign of a route that was moved.
#[derive(Debug, Clone, Copy)]
pub struct Reign<'l> {
    pub route: RouteId,
    pub line: &'l RouteLine,
    /// Among the line's reigns.
    pub index: usize,
}

impl<'l> Reign<'l> {
    /// The reign that takes writes.
    pub fn present(moved: Moved<'l>) -> Self {
        Self { route: moved.route, line: moved.line, index: moved.line.present() }
    }

    /// The reign that a revision was found in.
    pub fn at(moved: Moved<'l>, at: At) -> Self {
        Self { index: at.reign, ..Self::present(moved) }
    }

    /// # Errors
    /// What was there of the route is gone.
    fn shard(&self) -> Result<ShardId, RequestError> {
        self.line.shard(self.index).ok_or_else(compacted)
    }

    /// Its number.
    fn n(&self) -> u64 {
        self.line.reign(self.index).map_or(0, |reign| reign.n)
    }

    fn is_present(&self) -> bool {
        self.index == self.line.present()
    }

    /// A message that the shard cannot have meant.
    pub fn bad(&self, cx: &Context, reason: &dyn std::fmt::Display) -> RequestError {
        let shard = self.line.shard(self.index).map(|shard| cx.gateway().shard(shard).name.clone());
        let reason = reason.to_string();
        UpstreamError::BadReply { shard: shard.unwrap_or_default(), reason }.into()
    }
}

/// Translates what the shard of a reign sent, reading provenance where that is needed. The revision in the message's header
/// tells where: it is moved into the reign if it lies outside.
///
/// Never [`RequestError::Void`]: a write that was answered was applied, whatever happens to its answer.
///
/// # Errors
/// [`RequestError::Outside`] if a revision lies in no reign of the shard; as etcd says it if the provenance was compacted;
/// the shard's own if it cannot be read.
pub async fn translate(
    cx: &Context,
    reign: Reign<'_>,
    kind: Kind<'_>,
    message: &Bytes,
    header: Header,
) -> Result<Pieces, RequestError> {
    let mut known = Known::new(cx, reign);
    loop {
        let unread = match known.reply(kind, message, header)? {
            Translated::Whole(pieces) => return Ok(pieces),
            Translated::Unread(keys) => keys,
        };
        let revision = response::revision(message).map_err(|error| reign.bad(cx, &error))?;
        known.read(revision, unread).await?;
    }
}

/// What became of a message.
#[derive(Debug)]
pub enum Translated {
    Whole(Pieces),
    /// The provenance of these keys has to be read first, each named once and in order.
    Unread(Vec<Bytes>),
}

/// What is known of provenance while one message is translated. What was read for it is kept beside the cache, which is
/// smaller than the largest list.
#[derive(Debug)]
pub struct Known<'a> {
    cx: &'a Context,
    reign: Reign<'a>,
    own: HashMap<Bytes, Lookup>,
}

impl<'a> Known<'a> {
    pub fn new(cx: &'a Context, reign: Reign<'a>) -> Self {
        Self { cx, reign, own: HashMap::new() }
    }

    /// The reign, for the translation.
    ///
    /// # Errors
    /// The line has no such reign.
    pub fn line(&self) -> Result<impl Line + '_, RequestError> {
        let n = self.reign.n();
        let cache = &self.cx.gateway().provenance;
        let look = move |key: &[u8]| match self.own.get(key) {
            Some(lookup) => *lookup,
            None => cache.get(self.reign.route, n, key),
        };
        self.reign.line.in_reign(self.reign.index, look).ok_or_else(compacted)
    }

    /// Translates a message, or a part of one that begins and ends with a field, with what is known.
    ///
    /// # Errors
    /// As [`translate()`].
    pub fn reply(&self, kind: Kind<'_>, message: &Bytes, header: Header) -> Result<Translated, RequestError> {
        match translate::reply(kind, message, &self.line()?, header) {
            Ok(pieces) => Ok(Translated::Whole(pieces)),
            Err(ReplyError::Unread(keys)) => Ok(Translated::Unread(keys)),
            Err(ReplyError::Outside(outside)) => Err(outside.into()),
            Err(error) => Err(self.reign.bad(self.cx, &error)),
        }
    }

    /// Reads the provenance of these keys, each named once and in order, at a revision of the shard.
    ///
    /// # Errors
    /// As [`translate()`].
    pub async fn read(&mut self, revision: i64, keys: Vec<Bytes>) -> Result<(), RequestError> {
        let span = self.line()?.span();
        let revision = revision.clamp(*span.start(), *span.end());
        self.own.extend(fetch::fetch(self.cx, self.reign, revision, keys).await?);
        Ok(())
    }

    /// Takes what was read in another way.
    pub fn learn(&mut self, key: Bytes, lookup: Lookup) {
        self.cx.gateway().provenance.insert(self.reign.route, self.reign.n(), &key, lookup);
        self.own.insert(key, lookup);
    }
}

/// A record as it was read; `None`: there is none.
///
/// # Errors
/// It is not one.
pub fn lookup(
    record: Option<&etcd_prism_proto::mvccpb::KeyValue>,
) -> Result<Lookup, etcd_prism_ownership::value::ValueError> {
    let Some(kv) = record else { return Ok(Lookup::Absent) };
    let record = etcd_prism_ownership::value::ProvenanceRecord::decode(&kv.value)?;
    Ok(Lookup::Found(translate::Provenance {
        create_revision: record.create_revision,
        mod_revision: record.mod_revision,
        version: record.version,
        raw_mod_revision: kv.mod_revision,
        raw_version: kv.version,
        // A copy is written together with its record, each time, so their versions are the same.
        base: 0,
    }))
}
