//! One call of the API, and how it is made.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest,
    LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
    TxnRequest, TxnResponse,
};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::wait::DEADLINE;
use tokio::time::timeout;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Call {
    Range(RangeRequest),
    RangeStream(RangeRequest),
    /// A Range with a `client-api-version` that is not UTF-8.
    RangeWithBadVersion(RangeRequest),
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    Grant(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    /// Requests on one keep-alive stream, all sent before the first answer is read.
    KeepAlive(Vec<LeaseKeepAliveRequest>),
    TimeToLive(LeaseTimeToLiveRequest),
    Leases(LeaseLeasesRequest),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Range(RangeResponse),
    RangeStream(Vec<RangeStreamResponse>),
    Put(PutResponse),
    Delete(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    Grant(LeaseGrantResponse),
    Revoke(LeaseRevokeResponse),
    KeepAlive(Vec<LeaseKeepAliveResponse>),
    TimeToLive(LeaseTimeToLiveResponse),
    Leases(LeaseLeasesResponse),
}

impl Call {
    /// Makes the call. A server that does not answer within [`DEADLINE`] fails the run.
    pub(crate) async fn send(self, client: &Client) -> Result<Reply, Status> {
        let text = brief(&self);
        match timeout(DEADLINE, self.dispatch(client)).await {
            Ok(reply) => reply,
            Err(_) => panic!("no answer within {DEADLINE:?} to {text} from {}", client.endpoint()),
        }
    }

    async fn dispatch(self, client: &Client) -> Result<Reply, Status> {
        Ok(match self {
            Self::Range(request) => Reply::Range(client.kv().range(request).await?.into_inner()),
            Self::RangeStream(request) => {
                let mut stream = client.kv().range_stream(request).await?.into_inner();
                let mut chunks = Vec::new();
                while let Some(chunk) = stream.message().await? {
                    chunks.push(chunk);
                }
                Reply::RangeStream(chunks)
            }
            Self::RangeWithBadVersion(request) => {
                let mut request = Request::new(request);
                let version = MetadataValue::try_from(b"\xff\xfe".as_slice()).expect("opaque header bytes");
                request.metadata_mut().insert("client-api-version", version);
                Reply::Range(client.kv().range(request).await?.into_inner())
            }
            Self::Put(request) => Reply::Put(client.kv().put(request).await?.into_inner()),
            Self::Delete(request) => Reply::Delete(client.kv().delete_range(request).await?.into_inner()),
            Self::Txn(request) => Reply::Txn(client.kv().txn(request).await?.into_inner()),
            Self::Compact(request) => Reply::Compact(client.kv().compact(request).await?.into_inner()),
            Self::Grant(request) => Reply::Grant(client.lease().lease_grant(request).await?.into_inner()),
            Self::Revoke(request) => Reply::Revoke(client.lease().lease_revoke(request).await?.into_inner()),
            Self::KeepAlive(requests) => {
                let expected = requests.len();
                // Never ends, so that the answers do not depend on how a half-closed stream is taken.
                let requests = Lasting { requests: requests.into_iter() };
                let mut stream = client.lease().lease_keep_alive(requests).await?.into_inner();
                let mut answers = Vec::new();
                while answers.len() < expected {
                    match stream.message().await? {
                        Some(answer) => answers.push(answer),
                        None => break,
                    }
                }
                Reply::KeepAlive(answers)
            }
            Self::TimeToLive(request) => {
                Reply::TimeToLive(client.lease().lease_time_to_live(request).await?.into_inner())
            }
            Self::Leases(request) => Reply::Leases(client.lease().lease_leases(request).await?.into_inner()),
        })
    }
}

/// A stream of requests that stays open after the last.
struct Lasting {
    requests: std::vec::IntoIter<LeaseKeepAliveRequest>,
}

impl tokio_stream::Stream for Lasting {
    type Item = LeaseKeepAliveRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.requests.next().map_or(std::task::Poll::Pending, |request| std::task::Poll::Ready(Some(request)))
    }
}

/// Remaining seconds of a lease may differ by this much between two servers that are asked one after the other.
pub(crate) const TTL_SLACK: Duration = Duration::from_secs(15);

/// The beginning of what a value looks like: enough to tell which it is.
pub(crate) fn brief(value: &impl std::fmt::Debug) -> String {
    shortened(value, 500)
}

/// As [`brief`], at a length of `shown` bytes.
pub(crate) fn shortened(value: &impl std::fmt::Debug, shown: usize) -> String {
    let mut text = format!("{value:?}");
    if text.len() > shown {
        let end = text.floor_char_boundary(shown);
        text.truncate(end);
        text.push('…');
    }
    text
}
