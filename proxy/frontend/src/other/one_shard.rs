//! Methods that concern one etcd cluster: sent to the shard that the request names, otherwise refused.

use std::time::Duration;

use etcd_prism_upstream::{Class, Retry};
use etcd_prism_wire::{Code, Status};
use http::Response;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::RequestError;
use crate::kv::forward;
use crate::unary::UnaryRequest;
use crate::{metadata, relay, respond};

/// A defragmentation or a snapshot takes as long as the shard is large; the client decides for how long it waits.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

pub async fn handle(
    cx: &Context,
    path: &'static str,
    request: UnaryRequest,
) -> Result<Response<ResponseBody>, RequestError> {
    let names = || cx.gateway().shards.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(name) = cx.headers.get(metadata::SHARD) else { return Err(refusal(path, &names()).into()) };
    let shard = name.to_str().ok().and_then(|n| cx.gateway().shard_named(n)).ok_or_else(|| {
        let name = String::from_utf8_lossy(name.as_bytes());
        Status::new(
            Code::InvalidArgument,
            format!("etcd-prism: no shard is called {name:?} (shards: {})", names()),
        )
    })?;
    let class = if path == "/etcdserverpb.Maintenance/Snapshot" { Class::Bulk } else { Class::Unary };
    let mut call = forward::call(cx, path, request.frame, class, Retry::Never);
    call.timeout = Some(PATIENCE);
    let reply = cx.worker.pool(shard.id).call(call).await?;
    if reply.early_status().is_some() {
        return Ok(respond::early(reply.headers));
    }
    // The reply is about that shard: its own ids are the right ones.
    Ok(relay::start(reply, shard.name.clone(), relay::Header::Keep))
}

fn refusal(path: &str, shards: &str) -> Status {
    let method = path.rsplit('/').next().unwrap_or(path);
    let text = format!(
        "etcd-prism: {method} concerns one cluster: run `{}`, or send the \
         metadata prism-shard=<name> (shards: {shards})",
        command(method)
    );
    Status::new(Code::FailedPrecondition, text)
}

/// What to run against the shard itself.
fn command(method: &str) -> String {
    let words = match method {
        "Defragment" => "defrag",
        "Hash" | "HashKV" => "endpoint hashkv",
        "Snapshot" => "snapshot save <file>",
        "MoveLeader" => "move-leader <member id>",
        "Downgrade" => "downgrade <command>",
        "MemberAdd" => "member add <name>",
        "MemberRemove" => "member remove <member id>",
        "MemberUpdate" => "member update <member id>",
        "MemberPromote" => "member promote <member id>",
        _ => "<command>",
    };
    format!("etcdctl --endpoints=<the shard's endpoints> {words}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::METHODS;

    #[test]
    fn a_refusal_names_the_command_and_the_shards() {
        let status = refusal("/etcdserverpb.Maintenance/Defragment", "pods, rest");
        assert_eq!(status.code, Code::FailedPrecondition);
        assert_eq!(
            status.message,
            "etcd-prism: Defragment concerns one cluster: run `etcdctl \
             --endpoints=<the shard's endpoints> defrag`, or send the metadata prism-shard=<name> (shards: pods, rest)"
        );
    }

    #[test]
    fn every_method_of_one_cluster_has_a_command() {
        let own = ["Status", "Alarm", "MemberList"];
        let of_one = METHODS.iter().filter(|m| m.contains(".Maintenance/") || m.contains(".Cluster/"));
        let methods = of_one.filter_map(|m| m.rsplit('/').next()).filter(|m| !own.contains(m));
        let lacking: Vec<_> =
            methods.filter(|m| command(m).ends_with("<command>") && *m != "Downgrade").collect();
        assert_eq!(lacking, Vec::<&str>::new());
    }
}
