//! The Election service, but for Observe.

use etcd_prism_proto::etcdserverpb::TxnRequest;
use etcd_prism_proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest,
    ProclaimResponse, ResignRequest, ResignResponse,
};

use super::claim::{self, Claim};
use super::mutex::{Put, malformed, put_at};
use super::names::{self, Names, created_at, get, put, read};
use super::patience::Patience;
use super::turn::{Waiting, turn};
use super::unknown;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::typed;
use crate::metrics::Routed;

const ELECTION: &str = "an election";
/// etcd's texts.
const NO_LEADER_KEY: &str = "\"leader\" field must be provided";
const NOT_LEADER: &str = "election: not leader";
const NO_LEADER: &str = "election: no leader";
/// Ours: etcd has none for it.
const EXPIRED: &str = "election: session is expired";

/// Waits until the session leads.
pub(super) async fn campaign(
    cx: &Context,
    request: CampaignRequest,
    routed: &mut Routed,
) -> Result<CampaignResponse, RequestError> {
    let patience = Patience::of(cx);
    let CampaignRequest { name, lease, value } = request;
    let names = Names::of(cx, &name)?;
    let lease = names::session(cx, &names.footprint, lease).await?;
    let key = names.key(lease);
    let request = TxnRequest {
        compare: vec![created_at(&key, 0)],
        success: vec![put(&key, value.clone(), lease)],
        // The session may run already, with another value.
        failure: vec![read(get(&key)), put(&key, value, lease)],
    };
    let reply = typed::txn(cx, &names.footprint, &request, ELECTION, &[lease], routed).await?;
    let Put { created: rev, written } = put_at(&reply).ok_or_else(malformed)?;
    let claim = Claim::of(cx, &names.footprint, &key, written);
    let waiting = Waiting { names: &names, key: &key, revision: rev };
    match turn(cx, &waiting, &patience, routed).await {
        Ok(Some(_)) => claim.keep(),
        // etcd would call it the leader: it does not look whether the session is still there.
        Ok(None) => {
            claim.keep();
            return Err(unknown(EXPIRED));
        }
        Err(error) => {
            claim.give_back().await;
            return Err(error);
        }
    }
    Ok(CampaignResponse { header: reply.header, leader: Some(LeaderKey { name, key, rev, lease }) })
}

pub(super) async fn proclaim(
    cx: &Context,
    request: ProclaimRequest,
    routed: &mut Routed,
) -> Result<ProclaimResponse, RequestError> {
    let leader = request.leader.ok_or_else(|| unknown(NO_LEADER_KEY))?;
    let footprint = names::footprint(cx, &leader.key)?;
    let lease = names::session(cx, &footprint, leader.lease).await?;
    let request = TxnRequest {
        compare: vec![created_at(&leader.key, leader.rev)],
        success: vec![put(&leader.key, request.value, lease)],
        failure: Vec::new(),
    };
    let reply = typed::txn(cx, &footprint, &request, ELECTION, &[lease], routed).await?;
    if !reply.succeeded {
        return Err(unknown(NOT_LEADER));
    }
    Ok(ProclaimResponse { header: reply.header })
}

pub(super) async fn resign(
    cx: &Context,
    request: ResignRequest,
    routed: &mut Routed,
) -> Result<ResignResponse, RequestError> {
    let leader = request.leader.ok_or_else(|| unknown(NO_LEADER_KEY))?;
    let footprint = names::footprint(cx, &leader.key)?;
    let expected = created_at(&leader.key, leader.rev);
    let reply = claim::delete(cx, &footprint, &leader.key, expected, routed).await?;
    Ok(ResignResponse { header: reply.header })
}

pub(super) async fn leader(
    cx: &Context,
    request: LeaderRequest,
    routed: &mut Routed,
) -> Result<LeaderResponse, RequestError> {
    let names = Names::of(cx, &request.name)?;
    let (_, reply) = typed::range(cx, &names.footprint, &names.oldest(), ELECTION, routed).await?;
    let kv = reply.kvs.into_iter().next().ok_or_else(|| unknown(NO_LEADER))?;
    Ok(LeaderResponse { header: reply.header, kv: Some(kv) })
}
