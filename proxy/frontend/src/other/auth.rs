//! Auth: the proxy authenticates its clients by their certificates, users and roles stay on the shards.

use etcd_prism_proto::etcdserverpb::AuthStatusResponse;
use etcd_prism_wire::{Code, Status};

use crate::gateway::Gateway;
use crate::view;

/// The beginning of the paths of all methods.
pub const SERVICE: &str = "/etcdserverpb.Auth/";

/// What an etcd without authentication answers.
pub fn status(gateway: &Gateway) -> AuthStatusResponse {
    let header = Some(view::header(&view::home(gateway)));
    AuthStatusResponse { header, enabled: false, auth_revision: 1 }
}

/// The refusal of a method that is not served.
pub fn refuse(path: &str) -> Status {
    let text = match path.strip_prefix(SERVICE) {
        // clientv3 that was given a user goes on without a token when it reads this.
        Some("Authenticate") => "etcdserver: authentication is not enabled",
        _ => {
            "etcd-prism: clients are authenticated by TLS certificates at the proxy; users and roles are kept by each \
             shard: manage them with etcdctl on the shard's own endpoints"
        }
    };
    Status::new(Code::FailedPrecondition, text)
}
