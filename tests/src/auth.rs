//! Shards with authentication.

use etcd_prism_proto::authpb::Permission;
use etcd_prism_proto::authpb::permission::Type;
use etcd_prism_proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest,
};

use crate::client::Client;

/// Everybody's password.
pub const PASSWORD: &str = "secret";

/// The roles, with what each may do and where: `keys` is what clients need, `fences` and `looks` are about the proxy's own.
const ROLES: [(&str, Type, &[u8], &[u8]); 3] = [
    ("keys", Type::Readwrite, b"\0", b"\xff"),
    ("fences", Type::Readwrite, b"\xffprism/", b"\xffprism0"),
    ("looks", Type::Read, b"\xffprism/", b"\xffprism0"),
];

/// Creates the roles `keys`, `fences` and `looks`, `root`, and users with some of the roles; then authentication is on.
pub async fn protect(shard: &Client, users: &[(&str, &[&str])]) {
    let mut auth = shard.auth();
    auth.role_add(AuthRoleAddRequest { name: "root".into() }).await.expect("a role");
    for (name, perm_type, key, range_end) in ROLES {
        auth.role_add(AuthRoleAddRequest { name: name.into() }).await.expect("a role");
        let (key, range_end) = (key.to_vec().into(), range_end.to_vec().into());
        let perm = Some(Permission { perm_type: perm_type.into(), key, range_end });
        let grant = AuthRoleGrantPermissionRequest { name: name.into(), perm };
        auth.role_grant_permission(grant).await.expect("a permission");
    }
    for (user, roles) in users.iter().chain(&[("root", &["root"][..])]) {
        let user = (*user).to_owned();
        let add = AuthUserAddRequest { name: user.clone(), password: PASSWORD.into(), ..Default::default() };
        auth.user_add(add).await.expect("a user");
        for role in *roles {
            let grant = AuthUserGrantRoleRequest { user: user.clone(), role: (*role).into() };
            auth.user_grant_role(grant).await.expect("a role for a user");
        }
    }
    auth.auth_enable(AuthEnableRequest {}).await.expect("authentication");
}
