//! Maintenance.Alarm: the alarms of all shards as if they were one cluster's. Member ids are 64-bit hashes, so an id names
//! its shard.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::alarm_request::AlarmAction;
use etcd_prism_proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmResponse, AlarmType, ResponseHeader};
use etcd_prism_upstream::{Retry, UpstreamError, rpc};
use etcd_prism_wire::{Code, Status};
use futures_util::future::join_all;

use crate::context::Context;
use crate::error::RequestError;
use crate::view::{self, ShardView};

/// Longest wait for a shard that is only asked: one that hangs must not hide the alarms of the others.
const PATIENCE: Duration = Duration::from_secs(1);

type Answers = Vec<Result<AlarmResponse, UpstreamError>>;

pub async fn handle(cx: &Context, request: AlarmRequest) -> Result<AlarmResponse, RequestError> {
    match AlarmAction::try_from(request.action) {
        Ok(AlarmAction::Get) => {
            let answers = ask(cx, &request).await;
            let home = usize::from(cx.gateway().home_id().0);
            Ok(merge(&view::all(cx.gateway()), home, answers, request.alarm))
        }
        Ok(AlarmAction::Deactivate) => deactivate(cx, request).await,
        Ok(AlarmAction::Activate) => Err(Status::new(
            Code::FailedPrecondition,
            "etcd-prism: an alarm is raised by the member that it concerns, not through the proxy",
        )
        .into()),
        Err(_) => Err(Status::new(Code::InvalidArgument, "etcd-prism: unknown alarm action").into()),
    }
}

async fn ask(cx: &Context, request: &AlarmRequest) -> Answers {
    let mut call = rpc::call(rpc::ALARM, request, Retry::OnceElsewhere);
    call.timeout = Some(PATIENCE);
    join_all(cx.worker.pools().iter().map(|pool| rpc::unary(pool, call.clone()))).await
}

/// The union. A shard that did not answer contributes what it last reported. `alarm`: the type asked for; 0 is any.
fn merge(shards: &[ShardView], home: usize, answers: Answers, alarm: i32) -> AlarmResponse {
    let mut out = AlarmResponse { header: shards.get(home).map(view::header), alarms: Vec::new() };
    for (i, (shard, answer)) in shards.iter().zip(answers).enumerate() {
        match answer {
            Ok(reply) => {
                if i == home && reply.header.is_some() {
                    out.header = reply.header;
                }
                out.alarms.extend(reply.alarms);
            }
            Err(error) => {
                tracing::debug!(shard = %shard.name, %error, "alarms as last reported");
                let wanted = |a: &&AlarmMember| alarm == i32::from(AlarmType::None) || a.alarm == alarm;
                out.alarms.extend(shard.alarms.iter().filter(wanted).cloned());
            }
        }
    }
    out
}

async fn deactivate(cx: &Context, request: AlarmRequest) -> Result<AlarmResponse, RequestError> {
    let mut shards = view::all(cx.gateway());
    let mut targets = owners(&shards, request.member_id);
    if targets.is_empty() {
        // A member that is no endpoint of ours may still have an alarm.
        let any = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
        let mut failure = None;
        for (shard, answer) in shards.iter_mut().zip(ask(cx, &any).await) {
            match answer {
                Ok(reply) => shard.alarms = reply.alarms,
                Err(error) => failure = Some(error),
            }
        }
        targets = owners(&shards, request.member_id);
        // The member may be of the shard that did not answer.
        if let (true, Some(error)) = (targets.is_empty(), failure) {
            return Err(error.into());
        }
    }
    let asks =
        targets.iter().filter_map(|i| cx.worker.pools().get(*i)).map(|p| rpc::write(p, rpc::ALARM, &request));
    // etcd's answer to a member that it does not know: nothing was deactivated.
    let home: ResponseHeader = view::header(&view::home(cx.gateway()));
    let mut out = AlarmResponse { header: Some(home), alarms: Vec::new() };
    for answer in join_all(asks).await {
        let reply: AlarmResponse = answer?;
        out.alarms.extend(reply.alarms);
    }
    Ok(out)
}

/// The shards that a member id concerns; 0 is all of them.
fn owners(shards: &[ShardView], member: u64) -> Vec<usize> {
    let has = |shard: &ShardView| {
        member == 0
            || shard.members.iter().any(|m| m.id() == member)
            || shard.alarms.iter().any(|a| a.member_id == member)
    };
    shards.iter().enumerate().filter(|(_, s)| has(s)).map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests;
