//! The proxy's own login on a shard with authentication.

use std::path::PathBuf;
use std::sync::Arc;

use etcd_prism_proto::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};
use etcd_prism_wire::Status;
use http::HeaderValue;

use crate::error::UpstreamError;
use crate::pool::ShardPool;
use crate::rpc;

/// User and the file that holds the password. The file is read at each login, so a new password needs no restart.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub username: String,
    pub password_file: PathBuf,
}

/// Logs in and stores the token for all workers, unless somebody did since `used` was the token. Does nothing on a shard
/// without credentials.
pub(crate) async fn login(pool: &ShardPool, used: Option<&Arc<HeaderValue>>) -> Result<(), UpstreamError> {
    let Some(credentials) = &pool.shard().credentials else { return Ok(()) };
    let _single = pool.shard().logging_in.lock().await;
    let current = pool.shard().token.load_full();
    if current.as_ref().map(Arc::as_ptr) != used.map(Arc::as_ptr) {
        return Ok(());
    }
    let bad = |reason: String| UpstreamError::BadReply { shard: pool.shard().name.clone(), reason };
    let password = tokio::fs::read_to_string(&credentials.password_file)
        .await
        .map_err(|e| bad(format!("password file {}: {e}", credentials.password_file.display())))?;
    let request =
        AuthenticateRequest { name: credentials.username.clone(), password: password.trim_end().to_owned() };
    let reply: AuthenticateResponse = rpc::unary_without_token(pool, rpc::AUTHENTICATE, &request).await?;
    let mut token = HeaderValue::try_from(reply.token).map_err(|e| bad(format!("token: {e}")))?;
    token.set_sensitive(true);
    pool.shard().token.store(Some(token.into()));
    Ok(())
}

/// Whether a status means that the token is not, or no longer, good. Such a request was not applied.
pub(crate) fn wants_login(status: &Status) -> bool {
    matches!(
        &*status.message,
        "etcdserver: invalid auth token"
            | "etcdserver: revision of auth store is old"
            | "etcdserver: user name is empty"
    )
}
