//! Messages of watch streams.

use bytes::Bytes;
use etcd_prism_wire::patch::{self, Patch};
use etcd_prism_wire::translate::Pieces;
use etcd_prism_wire::{KeyRange, Status, frame};

use super::watcher::Leg;
use crate::identity::Identity;

/// Fields of WatchRequest.
const CREATE: u32 = 1;
const CANCEL: u32 = 2;
const PROGRESS: u32 = 3;
/// Fields of WatchCreateRequest.
const START_REVISION: u32 = 3;
const CREATE_WATCH_ID: u32 = 7;
/// Fields of WatchResponse.
const WATCH_ID: u32 = 2;
const CREATED: u32 = 3;
const CANCELED: u32 = 4;
const COMPACT_REVISION: u32 = 5;
const CANCEL_REASON: u32 = 6;

/// The id of a watcher that could not be created.
pub(super) const INVALID_ID: i64 = -1;

/// Asks a shard for a watcher: the client's own request with its keys, start and id replaced.
pub(super) fn create(request: &[u8], leg: &Leg) -> Bytes {
    let start = if leg.from_now { 0 } else { leg.next };
    let patch = Patch::new()
        .keys(patch::RANGE_KEYS, KeyRange::new(&leg.key, &leg.range_end))
        .int64(START_REVISION, start)
        .int64(CREATE_WATCH_ID, leg.upstream_id);
    frame::encode(&[&patch::wrap(CREATE, request, &patch)])
}

pub(super) fn cancel(upstream_id: i64) -> Bytes {
    frame::encode(&[&patch::wrap(CANCEL, &[], &Patch::new().int64(1, upstream_id))])
}

pub(super) fn progress_request() -> Bytes {
    frame::encode(&[&patch::wrap(PROGRESS, &[], &Patch::new())])
}

/// A shard's message under the client's id.
pub(super) fn pass_on(identity: &Identity, message: &[u8], id: i64) -> Bytes {
    let patch = Patch::new().int64(WATCH_ID, id);
    frame::encode(&[message, &identity.header_patch, patch.as_slice()])
}

/// The same of a message that was translated.
pub(super) fn pass_pieces_on(identity: &Identity, mut message: Pieces, id: i64) -> Bytes {
    let patch = Patch::new().int64(WATCH_ID, id);
    let pieces: Vec<Bytes> = std::iter::from_fn(|| message.next_piece()).collect();
    let ours = [&identity.header_patch[..], patch.as_slice()];
    let parts: Vec<&[u8]> = pieces.iter().map(|p| &p[..]).chain(ours).collect();
    frame::encode(&parts)
}

/// A shard's message without events for the client of a leg, under this id.
pub(super) fn pass_shown(identity: &Identity, leg: &Leg, message: &Bytes, id: i64) -> Result<Bytes, Status> {
    Ok(match &leg.at {
        None => pass_on(identity, message, id),
        Some(at) => pass_pieces_on(identity, at.header(message)?, id),
    })
}

fn header(identity: &Identity, revision: i64) -> Patch {
    patch::header_at(identity.cluster_id, identity.member_id, revision)
}

/// `created`, with the revision that the watcher follows on.
pub(super) fn created(identity: &Identity, message: &[u8], id: i64, revision: Option<i64>) -> Bytes {
    match revision {
        None => pass_on(identity, message, id),
        Some(revision) => {
            let patch = Patch::new().int64(WATCH_ID, id);
            frame::encode(&[message, header(identity, revision).as_slice(), patch.as_slice()])
        }
    }
}

/// `created` of a watcher that no shard has.
pub(super) fn created_at(identity: &Identity, id: i64, revision: i64) -> Bytes {
    let patch = Patch::new().int64(WATCH_ID, id).varint(CREATED, 1);
    frame::encode(&[header(identity, revision).as_slice(), patch.as_slice()])
}

/// Ends a watcher whose start was compacted, as etcd does: without a revision in the header.
pub(super) fn compacted(identity: &Identity, id: i64, compact_revision: i64) -> Bytes {
    let patch =
        Patch::new().int64(WATCH_ID, id).varint(CANCELED, 1).int64(COMPACT_REVISION, compact_revision);
    frame::encode(&[&identity.header_patch, patch.as_slice()])
}

/// The answer to a create that failed.
pub(super) fn create_failed(identity: &Identity, revision: i64, reason: &str) -> Bytes {
    let patch = Patch::new()
        .int64(WATCH_ID, INVALID_ID)
        .varint(CREATED, 1)
        .varint(CANCELED, 1)
        .bytes(CANCEL_REASON, reason.as_bytes());
    frame::encode(&[header(identity, revision).as_slice(), patch.as_slice()])
}

/// The answer to a cancel.
pub(super) fn canceled(identity: &Identity, revision: i64, id: i64) -> Bytes {
    let patch = Patch::new().int64(WATCH_ID, id).varint(CANCELED, 1);
    frame::encode(&[header(identity, revision).as_slice(), patch.as_slice()])
}
