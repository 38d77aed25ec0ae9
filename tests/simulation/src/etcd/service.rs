//! The gRPC services.

use std::pin::Pin;

use etcd_prism_proto::etcdserverpb::kv_server::{Kv, KvServer};
use etcd_prism_proto::etcdserverpb::lease_server::{Lease, LeaseServer};
use etcd_prism_proto::etcdserverpb::maintenance_server::{Maintenance, MaintenanceServer};
use etcd_prism_proto::etcdserverpb::request_op::Request as Op;
use etcd_prism_proto::etcdserverpb::response_op::Response as Answer;
use etcd_prism_proto::etcdserverpb::watch_server::WatchServer;
use etcd_prism_proto::etcdserverpb::*;
use futures_util::stream::Stream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::{Refusal, Shard};

type Reply<T> = Result<Response<T>, Status>;
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All services of a shard.
pub fn routes(shard: &Shard) -> Routes {
    Routes::new(KvServer::new(shard.clone()))
        .add_service(WatchServer::new(shard.clone()))
        .add_service(LeaseServer::new(shard.clone()))
        .add_service(MaintenanceServer::new(shard.clone()))
        .prepare()
}

fn unimplemented<T>() -> Reply<T> {
    Err(Status::unimplemented("a simulated shard has no such method"))
}

impl Shard {
    /// One op, as the transaction that it is.
    fn one(&self, op: Op) -> Result<(ResponseHeader, Answer), Status> {
        let success = vec![RequestOp { request: Some(op) }];
        let reply = self.txn_now(&TxnRequest { success, ..TxnRequest::default() })?;
        let header = reply.header.unwrap_or_default();
        let answer = reply.responses.into_iter().next().and_then(|op| op.response);
        Ok((header, answer.ok_or_else(|| Status::internal("no answer"))?))
    }

    fn txn_now(&self, txn: &TxnRequest) -> Result<TxnResponse, Refusal> {
        self.expire();
        let mut reply = self.store().txn(txn)?;
        let revision = reply.header.take().map_or(0, |header| header.revision);
        reply.header = Some(self.header(revision));
        Ok(reply)
    }

    pub(super) fn header_now(&self) -> Option<ResponseHeader> {
        Some(self.header(self.store().revision()))
    }
}

#[tonic::async_trait]
impl Kv for Shard {
    type RangeStreamStream = Replies<RangeStreamResponse>;

    async fn range(&self, request: Request<RangeRequest>) -> Reply<RangeResponse> {
        match self.one(Op::RequestRange(request.into_inner()))? {
            (header, Answer::ResponseRange(reply)) => {
                Ok(Response::new(RangeResponse { header: Some(header), ..reply }))
            }
            _ => Err(Status::internal("another answer")),
        }
    }

    async fn range_stream(&self, _: Request<RangeRequest>) -> Reply<Self::RangeStreamStream> {
        unimplemented()
    }

    async fn put(&self, request: Request<PutRequest>) -> Reply<PutResponse> {
        match self.one(Op::RequestPut(request.into_inner()))? {
            (header, Answer::ResponsePut(reply)) => {
                Ok(Response::new(PutResponse { header: Some(header), ..reply }))
            }
            _ => Err(Status::internal("another answer")),
        }
    }

    async fn delete_range(&self, request: Request<DeleteRangeRequest>) -> Reply<DeleteRangeResponse> {
        match self.one(Op::RequestDeleteRange(request.into_inner()))? {
            (header, Answer::ResponseDeleteRange(reply)) => {
                Ok(Response::new(DeleteRangeResponse { header: Some(header), ..reply }))
            }
            _ => Err(Status::internal("another answer")),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Reply<TxnResponse> {
        let (shard, txn) = (self.clone(), request.into_inner());
        let late = self.late();
        if late.is_zero() {
            return Ok(Response::new(shard.txn_now(&txn)?));
        }
        // By itself: whoever asked may be gone by then.
        let applied = tokio::spawn(async move {
            tokio::time::sleep(late).await;
            shard.txn_now(&txn)
        });
        Ok(Response::new(applied.await.map_err(|error| Status::internal(error.to_string()))??))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Reply<CompactionResponse> {
        self.store().compact(request.into_inner().revision)?;
        Ok(Response::new(CompactionResponse { header: self.header_now() }))
    }
}

#[tonic::async_trait]
impl Lease for Shard {
    type LeaseKeepAliveStream = Replies<LeaseKeepAliveResponse>;

    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Reply<LeaseGrantResponse> {
        self.expire();
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        let (id, ttl) = self.store().grant(id, ttl, (self.now)())?;
        Ok(Response::new(LeaseGrantResponse { header: self.header_now(), id, ttl, error: String::new() }))
    }

    async fn lease_revoke(&self, request: Request<LeaseRevokeRequest>) -> Reply<LeaseRevokeResponse> {
        self.expire();
        self.store().revoke(request.into_inner().id)?;
        Ok(Response::new(LeaseRevokeResponse { header: self.header_now() }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Reply<Self::LeaseKeepAliveStream> {
        let renewals = futures_util::stream::unfold(
            (self.clone(), request.into_inner()),
            |(shard, mut requests)| async move {
                let id = match requests.message().await {
                    Ok(Some(request)) => request.id,
                    Ok(None) => return None,
                    Err(status) => return Some((Err(status), (shard, requests))),
                };
                tokio::time::sleep(shard.late()).await;
                shard.expire();
                let now = (shard.now)();
                let ttl = shard.store().renew(id, now).unwrap_or(0);
                let reply = LeaseKeepAliveResponse { header: shard.header_now(), id, ttl };
                Some((Ok(reply), (shard, requests)))
            },
        );
        Ok(Response::new(Box::pin(renewals)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Reply<LeaseTimeToLiveResponse> {
        self.expire();
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let header = self.header_now();
        let store = self.store();
        let Some(lease) = store.leases.get(&id) else {
            return Ok(Response::new(LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() }));
        };
        let left = lease.ends.saturating_sub((self.now)()).as_secs();
        Ok(Response::new(LeaseTimeToLiveResponse {
            header,
            id,
            ttl: i64::try_from(left).unwrap_or(i64::MAX),
            granted_ttl: lease.ttl,
            keys: if keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
        }))
    }

    async fn lease_leases(&self, _: Request<LeaseLeasesRequest>) -> Reply<LeaseLeasesResponse> {
        self.expire();
        let header = self.header_now();
        let leases = self.store().leases.keys().map(|id| LeaseStatus { id: *id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header, leases }))
    }
}

#[tonic::async_trait]
impl Maintenance for Shard {
    type SnapshotStream = Replies<SnapshotResponse>;

    async fn alarm(&self, _: Request<AlarmRequest>) -> Reply<AlarmResponse> {
        let header = self.header_now();
        let member_id = header.as_ref().map_or(0, |header| header.member_id);
        let alarm = AlarmMember { member_id, alarm: AlarmType::Nospace.into() };
        let alarms = if self.store().full { vec![alarm] } else { Vec::new() };
        Ok(Response::new(AlarmResponse { header, alarms }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Reply<StatusResponse> {
        let header = self.header_now();
        Ok(Response::new(StatusResponse {
            version: "3.7.3".to_owned(),
            leader: header.as_ref().map_or(0, |header| header.member_id),
            raft_term: 2,
            raft_index: 10,
            raft_applied_index: 10,
            header,
            ..StatusResponse::default()
        }))
    }

    async fn defragment(&self, _: Request<DefragmentRequest>) -> Reply<DefragmentResponse> {
        unimplemented()
    }

    async fn hash(&self, _: Request<HashRequest>) -> Reply<HashResponse> {
        unimplemented()
    }

    async fn hash_kv(&self, _: Request<HashKvRequest>) -> Reply<HashKvResponse> {
        unimplemented()
    }

    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Reply<Self::SnapshotStream> {
        unimplemented()
    }

    async fn move_leader(&self, _: Request<MoveLeaderRequest>) -> Reply<MoveLeaderResponse> {
        unimplemented()
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Reply<DowngradeResponse> {
        unimplemented()
    }
}
