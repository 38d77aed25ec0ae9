//! One etcd, and requests that are sent to it with and without a fence.

use std::sync::Arc;

use bytes::Bytes;
use etcd_prism_proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::raw::{Answer, RawConnection, request};
use etcd_prism_tests::request::{get, put};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_wire::fence::{self, Condition, Form, SeenFence, Start, Verdict};
use etcd_prism_wire::{Fields, response};
use prost::Message;

pub(crate) const PODS: &[u8] = b"\xffprism/fence/pods";
pub(crate) const TXN: &str = "/etcdserverpb.KV/Txn";

pub(crate) struct Shard {
    pub(crate) client: Client,
    connection: RawConnection,
    _cluster: EtcdCluster,
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Range(RangeRequest),
    Txn(TxnRequest),
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Reply {
        revision: i64,
        /// Everything but the header.
        rest: Bytes,
    },
    Refused(Vec<SeenFence>),
    Status(u32, String),
}

impl Shard {
    pub(crate) async fn start(builder: EtcdBuilder) -> Self {
        let cluster = builder.start(&Arc::new(Scratch::new())).await;
        let connection = RawConnection::connect(&cluster.endpoints()[0].replace("http://", "")).await;
        Self { client: cluster.client(), connection, _cluster: cluster }
    }

    /// Writes a fence; gives its epoch.
    pub(crate) async fn raise(&self, key: &[u8], value: &str) -> i64 {
        let reply = self.client.kv().put(put(key, value)).await.expect("a fence").into_inner();
        reply.header.expect("a header").revision
    }

    /// The shard's revision.
    pub(crate) async fn revision(&self) -> i64 {
        let reply = self.client.kv().range(get("none")).await.expect("a read").into_inner();
        reply.header.expect("a header").revision
    }

    pub(crate) async fn value(&self, key: &str) -> Option<Bytes> {
        let reply = self.client.kv().range(get(key)).await.expect("a read").into_inner();
        reply.kvs.into_iter().next().map(|kv| kv.value)
    }

    /// As a client sends it.
    pub(crate) async fn plain(&self, call: &Call) -> Outcome {
        let answer = self.connection.call(call.path(), &call.message()).await;
        if answer.is_ok() { reply(&answer.message(), None) } else { status(&answer) }
    }

    /// As the proxy sends it, to a shard that takes `max_ops` operations.
    pub(crate) async fn fenced(&self, call: &Call, conditions: &[Condition<'_>], max_ops: usize) -> Outcome {
        let (frame, form) = call.fenced(conditions, max_ops);
        self.send(frame, form, conditions).await
    }

    pub(crate) async fn send(&self, frame: Bytes, form: Form, conditions: &[Condition<'_>]) -> Outcome {
        let answer = self.connection.exchange(request(TXN), frame).await;
        if !answer.is_ok() {
            return status(&answer);
        }
        let message = answer.message();
        match fence::start(form, message.len(), &message).expect("a reply of etcd") {
            Start::More => panic!("undecided: {message:?}"),
            Start::Passed { skip, len, revision, .. } => {
                reply(&message.slice(skip..skip + len), Some(revision))
            }
            Start::Failed => match fence::verdict(form, &message, conditions).expect("a reply of etcd") {
                Verdict::Client(message) => reply(&message, None),
                Verdict::Refused(fences) => Outcome::Refused(fences),
            },
        }
    }

    /// A message for `KV/Txn` that nobody has looked at.
    pub(crate) async fn raw(&self, message: &[u8]) -> Answer {
        self.connection.call(TXN, message).await
    }
}

impl Call {
    fn path(&self) -> &'static str {
        match self {
            Call::Put(_) => "/etcdserverpb.KV/Put",
            Call::Delete(_) => "/etcdserverpb.KV/DeleteRange",
            Call::Range(_) => "/etcdserverpb.KV/Range",
            Call::Txn(_) => TXN,
        }
    }

    pub(crate) fn message(&self) -> Vec<u8> {
        match self {
            Call::Put(request) => request.encode_to_vec(),
            Call::Delete(request) => request.encode_to_vec(),
            Call::Range(request) => request.encode_to_vec(),
            Call::Txn(request) => request.encode_to_vec(),
        }
    }

    pub(crate) fn fenced(&self, conditions: &[Condition<'_>], max_ops: usize) -> (Bytes, Form) {
        let message = self.message();
        match self {
            Call::Put(_) => (fence::put(&message, conditions), Form::Put),
            Call::Delete(_) => (fence::delete_range(&message, conditions), Form::DeleteRange),
            Call::Range(_) => (fence::range(&message, conditions), Form::Range),
            Call::Txn(_) => {
                let shape =
                    etcd_prism_wire::request::txn(&message, 128, &mut |_, _| {}).expect("a transaction");
                fence::txn(&message, &shape, conditions, max_ops)
            }
        }
    }
}

pub(crate) fn status(answer: &Answer) -> Outcome {
    let (code, text) = answer.status().unwrap_or_else(|| panic!("{answer:?}"));
    Outcome::Status(code, text)
}

fn reply(message: &[u8], revision: Option<i64>) -> Outcome {
    let fields = Fields::new(message).map(|field| field.expect("a reply of etcd"));
    let rest: Vec<u8> =
        fields.filter(|f| f.number != 1).flat_map(|f| message[f.start..f.end].to_vec()).collect();
    let revision = revision.unwrap_or_else(|| response::revision(message).expect("a header"));
    Outcome::Reply { revision, rest: rest.into() }
}

pub(crate) fn condition(epoch: i64) -> [Condition<'static>; 1] {
    [Condition { key: PODS, epoch }]
}

/// A fence as it is shown to whoever was refused.
pub(crate) fn seen(key: &'static [u8], mod_revision: i64, value: &'static str) -> SeenFence {
    SeenFence { key: key.into(), mod_revision, value: value.into() }
}
