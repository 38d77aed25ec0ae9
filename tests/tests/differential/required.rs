//! What a run must hit: the options and errors of KV, Watch and Lease.
//!
//! Not here, because no single etcd in good health gives them: lack of a leader, timeouts, a full or corrupt store, and
//! authentication. The first three are for the tests of isolation.

/// Names that a run counts, and beginnings of `Code: text`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Required {
    pub(crate) options: Vec<&'static str>,
    pub(crate) errors: Vec<&'static str>,
}

impl Required {
    /// `newest`: both sides are etcd 3.7 or later. `spanning`: the subject has several shards.
    pub(crate) fn new(newest: bool, spanning: bool) -> Self {
        let mut required = Self { options: OPTIONS.to_vec(), errors: ERRORS.to_vec() };
        if newest {
            required.options.extend(NEWEST_OPTIONS);
            required.errors.extend(NEWEST_ERRORS);
        }
        if spanning {
            required.options.extend(SPANNING_OPTIONS);
        }
        if newest && spanning {
            required.options.push("range stream: spanning");
        }
        required
    }
}

const OPTIONS: &[&str] = &[
    "range: one key",
    "range: interval",
    "range: from key",
    "range: limit",
    "range: limit negative",
    "range: more",
    "range: revision past",
    "range: revision negative",
    "range: serializable",
    "range: keys_only",
    "range: count_only",
    "range: min_mod_revision",
    "range: max_mod_revision",
    "range: min_create_revision",
    "range: max_create_revision",
    "range: sort KEY NONE",
    "range: sort KEY ASCEND",
    "range: sort KEY DESCEND",
    "range: sort VERSION NONE",
    "range: sort VERSION ASCEND",
    "range: sort VERSION DESCEND",
    "range: sort CREATE NONE",
    "range: sort CREATE ASCEND",
    "range: sort CREATE DESCEND",
    "range: sort MOD NONE",
    "range: sort MOD ASCEND",
    "range: sort MOD DESCEND",
    "range: sort VALUE NONE",
    "range: sort VALUE ASCEND",
    "range: sort VALUE DESCEND",
    "put: lease",
    "put: prev_kv",
    "put: returned prev_kv",
    "put: ignore_value",
    "put: ignore_lease",
    "put: empty value",
    "delete: one key",
    "delete: interval",
    "delete: prev_kv",
    "delete: deleted nothing",
    "delete: deleted several",
    "txn: empty",
    "txn: succeeded",
    "txn: failed",
    "txn delete",
    "txn nested",
    "txn put: lease",
    "txn put: prev_kv",
    "txn put: ignore_value",
    "txn put: ignore_lease",
    "txn range: interval",
    "txn range: limit",
    "txn range: revision past",
    "txn range: serializable",
    "txn range: sort MOD DESCEND",
    "compare: range",
    "compare: no target value",
    "compare: VERSION EQUAL",
    "compare: VERSION GREATER",
    "compare: VERSION LESS",
    "compare: VERSION NOT_EQUAL",
    "compare: VERSION unknown",
    "compare: CREATE EQUAL",
    "compare: CREATE GREATER",
    "compare: CREATE LESS",
    "compare: CREATE NOT_EQUAL",
    "compare: MOD EQUAL",
    "compare: MOD GREATER",
    "compare: MOD LESS",
    "compare: MOD NOT_EQUAL",
    "compare: VALUE EQUAL",
    "compare: VALUE GREATER",
    "compare: VALUE LESS",
    "compare: VALUE NOT_EQUAL",
    "compare: LEASE EQUAL",
    "compare: LEASE GREATER",
    "compare: LEASE LESS",
    "compare: LEASE NOT_EQUAL",
    "compact: physical",
    "compact: logical",
    "lease grant: own id",
    "lease grant: chosen id",
    "lease grant: TTL not positive",
    "lease grant: raised TTL",
    "lease revoke",
    "lease leases",
    "lease expiry",
    "keep alive: several in flight",
    "keep alive: alive",
    "keep alive: gone",
    "time to live: keys",
    "time to live: no keys",
    "time to live: with attached keys",
    "time to live: gone",
    "watch: one key",
    "watch: interval",
    "watch: from key",
    "watch: empty key",
    "watch: spanning",
    "watch: start_revision past",
    "watch: start_revision compacted",
    "watch: start_revision future",
    "watch: progress_notify",
    "watch: filter NOPUT",
    "watch: filter NODELETE",
    "watch: prev_kv",
    "watch: watch_id",
    "watch: fragment",
    "watch: fragmented response",
    "watch: events",
    "watch: progress request",
    "watch: canceled by compaction",
    "watch: canceled on request",
    "watch: cancel of an unknown id",
    "watch: request without a variant",
];

/// Of etcd 3.7 and later.
const NEWEST_OPTIONS: &[&str] = &[
    "range stream: one key",
    "range stream: interval",
    "range stream: limit",
    "range stream: revision past",
    "range stream: serializable",
    "range stream: keys_only",
    "range stream: count_only",
    "range stream: several chunks",
];

const ERRORS: &[&str] = &[
    "InvalidArgument: etcdserver: key is not provided",
    "InvalidArgument: etcdserver: key not found",
    "InvalidArgument: etcdserver: value is provided",
    "InvalidArgument: etcdserver: lease is provided",
    "InvalidArgument: etcdserver: too many operations in txn request",
    "InvalidArgument: etcdserver: duplicate key given in txn request",
    "InvalidArgument: etcdserver: request is too large",
    "ResourceExhausted: grpc: received message larger than max",
    "OutOfRange: etcdserver: mvcc: required revision has been compacted",
    "OutOfRange: etcdserver: mvcc: required revision is a future revision",
    "OutOfRange: etcdserver: too large lease TTL",
    "NotFound: etcdserver: requested lease not found",
    "FailedPrecondition: etcdserver: lease already exists",
    "watch: mvcc: duplicate watch ID provided on the WatchStream",
    "watch: mvcc: watcher range is empty",
    "watch: etcdserver: mvcc: required revision has been compacted",
];

/// Of etcd 3.7 and later.
const NEWEST_ERRORS: &[&str] = &[
    "InvalidArgument: etcdserver: invalid client api version",
    "InvalidArgument: etcdserver: invalid sort option",
    "Unimplemented: RangeStream does not support custom sort orders",
    "Unimplemented: RangeStream does not support revision filters",
];

/// Where routes are on several shards.
const SPANNING_OPTIONS: &[&str] = &[
    "range: spanning",
    "refused: range at a revision",
    "refused: delete",
    "refused: txn",
    "refused: watch from a revision",
];
