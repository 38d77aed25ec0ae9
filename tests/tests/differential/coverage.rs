//! Which options and errors a run has hit. One that it never hit fails the run.

use std::collections::BTreeMap;

use etcd_prism_proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, TxnRequest, WatchCreateRequest, WatchResponse, compare::TargetUnion,
    request_op::Request, watch_create_request::FilterType,
};
use tonic::Status;

use crate::call::{Call, Reply};
use crate::required::Required;
use crate::state::{FUTURE, State};
use crate::touch::spans;

#[derive(Debug, Default)]
pub(crate) struct Coverage {
    options: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

impl Coverage {
    pub(crate) fn option(&mut self, name: impl Into<String>) {
        *self.options.entry(name.into()).or_default() += 1;
    }

    pub(crate) fn error(&mut self, text: impl Into<String>) {
        *self.errors.entry(text.into()).or_default() += 1;
    }

    /// Counts what the reference was asked and how it answered.
    pub(crate) fn count(&mut self, state: &State, call: &Call, reply: &Result<Reply, Status>) {
        match reply {
            Ok(reply) => {
                self.call(state, call);
                self.reply(call, reply);
            }
            Err(status) => self.error(format!("{:?}: {}", status.code(), status.message())),
        }
    }

    /// Every count, one a line.
    pub(crate) fn report(&self) -> String {
        self.options.iter().chain(&self.errors).map(|(name, count)| format!("{count:>8}  {name}\n")).collect()
    }

    /// What is required and was never hit.
    pub(crate) fn missing(&self, required: &Required) -> Vec<&'static str> {
        let hit = |name: &str| self.errors.keys().any(|text| text.starts_with(name));
        let options = required.options.iter().filter(|name| !self.options.contains_key(**name));
        options.chain(required.errors.iter().filter(|name| !hit(name))).copied().collect()
    }

    pub(crate) fn watch(&mut self, state: &State, request: &WatchCreateRequest) {
        let interval = match &request.range_end[..] {
            b"" => "one key",
            b"\0" => "from key",
            _ => "interval",
        };
        self.option(format!("watch: {interval}"));
        self.flags(
            "watch",
            &[
                ("empty key", request.key.is_empty()),
                ("start_revision past", request.start_revision > 0 && request.start_revision < FUTURE),
                ("start_revision compacted", (1..state.compacted).contains(&request.start_revision)),
                ("start_revision future", request.start_revision >= FUTURE),
                ("progress_notify", request.progress_notify),
                ("filter NOPUT", request.filters.contains(&FilterType::Noput.into())),
                ("filter NODELETE", request.filters.contains(&FilterType::Nodelete.into())),
                ("prev_kv", request.prev_kv),
                ("watch_id", request.watch_id != 0),
                ("fragment", request.fragment),
                ("spanning", state.layout.routes_of(&request.key, &request.range_end).len() > 1),
            ],
        );
    }

    pub(crate) fn watch_response(&mut self, response: &WatchResponse) {
        self.flags(
            "watch",
            &[
                ("events", !response.events.is_empty()),
                ("fragmented response", response.fragment),
                ("canceled by compaction", response.compact_revision > 0),
                (
                    "canceled on request",
                    response.canceled && response.compact_revision == 0 && !response.created,
                ),
            ],
        );
        if response.created && response.canceled {
            self.error(format!("watch: {}", response.cancel_reason));
        }
    }

    fn flags(&mut self, method: &str, flags: &[(&str, bool)]) {
        for (name, _) in flags.iter().filter(|(_, set)| *set) {
            self.option(format!("{method}: {name}"));
        }
    }

    fn call(&mut self, state: &State, call: &Call) {
        match call {
            Call::Range(request) => {
                self.range("range", request);
                self.flags("range", &[("spanning", spans(&state.layout, call))]);
            }
            Call::RangeStream(request) => {
                self.range("range stream", request);
                self.flags("range stream", &[("spanning", spans(&state.layout, call))]);
            }
            Call::RangeWithBadVersion(_) => {}
            Call::Put(request) => self.put("put", request),
            Call::Delete(request) => self.flags(
                "delete",
                &[
                    ("one key", request.range_end.is_empty()),
                    ("interval", !request.range_end.is_empty()),
                    ("prev_kv", request.prev_kv),
                ],
            ),
            Call::Txn(request) => self.txn("txn", request),
            Call::Compact(request) => {
                self.flags("compact", &[("physical", request.physical), ("logical", !request.physical)]);
            }
            Call::Grant(request) => {
                self.flags("lease grant", &[("own id", request.id != 0), ("chosen id", request.id == 0)]);
                self.flags("lease grant", &[("TTL not positive", request.ttl <= 0)]);
            }
            Call::Revoke(_) => self.option("lease revoke"),
            Call::KeepAlive(requests) => {
                self.flags("keep alive", &[("several in flight", requests.len() > 1)])
            }
            Call::TimeToLive(request) => {
                self.flags("time to live", &[("keys", request.keys), ("no keys", !request.keys)]);
            }
            Call::Leases(_) => self.option("lease leases"),
        }
    }

    fn reply(&mut self, call: &Call, reply: &Reply) {
        match reply {
            Reply::Range(reply) => self.flags("range", &[("more", reply.more)]),
            Reply::RangeStream(chunks) => self.flags("range stream", &[("several chunks", chunks.len() > 1)]),
            Reply::Delete(reply) => self.flags(
                "delete",
                &[("deleted nothing", reply.deleted == 0), ("deleted several", reply.deleted > 1)],
            ),
            Reply::Txn(reply) => {
                self.flags("txn", &[("succeeded", reply.succeeded), ("failed", !reply.succeeded)])
            }
            Reply::KeepAlive(answers) => {
                self.flags(
                    "keep alive",
                    &[
                        ("alive", answers.iter().any(|answer| answer.ttl > 0)),
                        ("gone", answers.iter().any(|answer| answer.ttl == 0)),
                    ],
                );
            }
            Reply::TimeToLive(reply) => self.flags(
                "time to live",
                &[("gone", reply.ttl == -1), ("with attached keys", !reply.keys.is_empty())],
            ),
            Reply::Put(reply) => self.flags("put", &[("returned prev_kv", reply.prev_kv.is_some())]),
            Reply::Grant(reply) => {
                let Call::Grant(request) = call else { return };
                self.flags("lease grant", &[("raised TTL", reply.ttl > request.ttl)]);
            }
            Reply::Compact(_) | Reply::Revoke(_) | Reply::Leases(_) => {}
        }
    }

    fn range(&mut self, method: &str, request: &RangeRequest) {
        self.flags(
            method,
            &[
                ("one key", request.range_end.is_empty()),
                ("from key", &request.range_end[..] == b"\0"),
                ("interval", request.range_end.len() > 1),
                ("limit", request.limit > 0),
                ("limit negative", request.limit < 0),
                ("revision past", request.revision > 0),
                ("revision negative", request.revision < 0),
                ("serializable", request.serializable),
                ("keys_only", request.keys_only),
                ("count_only", request.count_only),
                ("min_mod_revision", request.min_mod_revision > 0),
                ("max_mod_revision", request.max_mod_revision > 0),
                ("min_create_revision", request.min_create_revision > 0),
                ("max_create_revision", request.max_create_revision > 0),
            ],
        );
        let (order, target) = (request.sort_order().as_str_name(), request.sort_target().as_str_name());
        self.option(format!("{method}: sort {target} {order}"));
    }

    fn put(&mut self, method: &str, request: &PutRequest) {
        self.flags(
            method,
            &[
                ("lease", request.lease != 0),
                ("prev_kv", request.prev_kv),
                ("ignore_value", request.ignore_value),
                ("ignore_lease", request.ignore_lease),
                ("empty value", request.value.is_empty()),
            ],
        );
    }

    fn txn(&mut self, method: &str, request: &TxnRequest) {
        self.flags(method, &[("empty", *request == TxnRequest::default())]);
        request.compare.iter().for_each(|compare| self.compare(compare));
        for op in request.success.iter().chain(&request.failure) {
            match &op.request {
                Some(Request::RequestRange(range)) => self.range(&format!("{method} range"), range),
                Some(Request::RequestPut(put)) => self.put(&format!("{method} put"), put),
                Some(Request::RequestDeleteRange(_)) => self.option(format!("{method} delete")),
                Some(Request::RequestTxn(nested)) => {
                    self.option(format!("{method} nested"));
                    self.txn(method, nested);
                }
                None => {}
            }
        }
    }

    fn compare(&mut self, compare: &Compare) {
        let target = compare.target().as_str_name();
        self.option(match compare.target_union {
            Some(TargetUnion::Version(_) | TargetUnion::CreateRevision(_) | TargetUnion::ModRevision(_))
            | Some(TargetUnion::Value(_) | TargetUnion::Lease(_)) => {
                format!("compare: {target} {}", result_name(compare.result))
            }
            None => "compare: no target value".to_owned(),
        });
        self.flags("compare", &[("range", !compare.range_end.is_empty())]);
    }
}

fn result_name(result: i32) -> &'static str {
    use etcd_prism_proto::etcdserverpb::compare::CompareResult;
    CompareResult::try_from(result).map_or("unknown", |result| result.as_str_name())
}
