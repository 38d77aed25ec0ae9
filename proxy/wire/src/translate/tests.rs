mod compares;
mod hostile;
mod pieces;
mod ranges;
mod replies;
mod requests;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use bytes::Bytes;
use etcd_prism_proto::{etcdserverpb as pb, mvccpb};
use prost::Message;

use super::*;

/// A route that was copied here once, ruled (raw 65..=80, as they are), was away until virtual revision 300, and came back:
/// raw 101 is virtual 301, and so on.
#[derive(Debug)]
struct Returned {
    provenance: HashMap<&'static str, Lookup>,
    last: i64,
}

const OFFSET: i64 = 200;

impl Returned {
    fn new() -> Self {
        // Copied: created at 120, written at 250 for the seventh time; as the third write of the record at raw 95, while the
        // key itself had one write more before the copy.
        let copied = Provenance {
            create_revision: 120,
            mod_revision: 250,
            version: 7,
            raw_mod_revision: 95,
            raw_version: 3,
            base: 1,
        };
        // Of the first copy; the key was created anew since.
        let first = Provenance { create_revision: 30, mod_revision: 40, raw_mod_revision: 60, ..copied };
        let provenance =
            [("copied", Lookup::Found(copied)), ("old", Lookup::Absent), ("again", Lookup::Found(first))];
        Self { provenance: provenance.into(), last: i64::MAX }
    }
}

impl Line for Returned {
    fn span(&self) -> RangeInclusive<i64> {
        101..=self.last
    }

    fn up(&self, raw: i64) -> Result<i64, Outside> {
        match raw {
            65..=80 => Ok(raw),
            101.. => raw.checked_add(OFFSET).ok_or(Outside { raw }),
            _ => Err(Outside { raw }),
        }
    }

    fn down(&self, revision: i64) -> Down {
        match revision {
            301.. => Down::Raw(revision - OFFSET),
            5..=300 => Down::Elsewhere,
            _ => Down::Compacted,
        }
    }

    fn provenance(&self, key: &[u8]) -> Lookup {
        std::str::from_utf8(key)
            .ok()
            .and_then(|key| self.provenance.get(key))
            .copied()
            .unwrap_or(Lookup::Unread)
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: 1 << 60, member_id: 9, revision, raft_term: 4 })
}

fn kv(key: &str, create_revision: i64, mod_revision: i64, version: i64) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision,
        mod_revision,
        version,
        value: vec![b'v'; 300].into(),
        lease: 77,
    }
}

/// Pairs as the shard has them and as clients know them.
fn pairs() -> (Vec<mvccpb::KeyValue>, Vec<mvccpb::KeyValue>) {
    let raw = vec![
        kv("again", 70, 75, 4),
        kv("copied", 90, 95, 4),
        kv("copied", 90, 140, 9),
        kv("new", 110, 110, 1),
        kv("old", 66, 70, 2),
    ];
    let shown = vec![
        kv("again", 70, 75, 4),
        kv("copied", 120, 250, 7),
        kv("copied", 120, 340, 12),
        kv("new", 310, 310, 1),
        kv("old", 66, 70, 2),
    ];
    (raw, shown)
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// The translation of a message, decoded again.
fn shown<M: Message + Default>(kind: Kind<'_>, message: &M, line: &impl Line, header: Header) -> M {
    let pieces = reply(kind, &bytes(message), line, header).unwrap();
    let len = pieces.len();
    let out = pieces.into_bytes();
    assert_eq!(out.len(), len);
    M::decode(out).unwrap()
}
