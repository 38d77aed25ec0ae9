//! Drives a change of routes.

use std::time::Duration;

use etcd_prism_ownership::change::{Goal, Reason};
use etcd_prism_ownership::value::{Pending, TableError};
use etcd_prism_routing::RouteSpec;
use etcd_prism_upstream::UpstreamError;
use run::Run;
use tokio_util::sync::CancellationToken;

use crate::site::{Site, SiteError};

mod run;

/// Choices of the operator.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// From the first seal on: when it has not come to the commit by then, everything is as before.
    pub max_pause: Duration,
    /// Keys may go to a shard whose revision is below the one that clients have seen of them.
    pub lower_revisions: bool,
    /// Cancelled when the operator wants to stop: before the commit, everything is as before.
    pub interrupt: CancellationToken,
}

/// What is being done, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// About to write this; in words.
    Writing(String),
    /// These proxies, by name, have not let go of a sealed route yet.
    Waiting(Vec<String>),
    /// Looking whether the shard holds keys that would change shards.
    Probing(String),
    /// A shard did not answer.
    Retrying(String),
}

/// The end of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Of the table on the shards.
    pub generation: u64,
    /// How long routes were not served, if any was sealed.
    pub paused: Option<Duration>,
}

/// Why a change did not happen, or has not ended.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error(transparent)]
    Table(#[from] TableError),
    /// Everything is as before.
    #[error("{0}")]
    Stopped(Reason),
    /// It may be half done; whoever runs the command again goes on.
    #[error("{error}; run the command again: it goes on from what is stored")]
    Unfinished { error: UpstreamError },
    /// Of a dry run only.
    #[error("the first write would be: {0}")]
    Dry(String),
}

/// Makes the stored table what `specs` say. Where nothing differs, nothing is written but copies of the table that are out
/// of date. Safe to run again, and by several at once.
///
/// # Errors
/// The change is not allowed, or a shard did not answer.
pub async fn apply(
    site: &Site,
    specs: &[RouteSpec],
    options: &ApplyOptions,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<Applied, ApplyError> {
    let shards = site.introduce(true).await?;
    let goal = Goal::Apply(Pending::new(shards.clone(), specs)?);
    Run::new(site, shards, goal, options, report).go().await
}

/// Ends the change that is under way, if it has not been committed.
///
/// # Errors
/// [`ApplyError::Stopped`] is the good end: it says what was found.
pub async fn abort(
    site: &Site,
    options: &ApplyOptions,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<Applied, ApplyError> {
    let shards = site.introduce(true).await?;
    Run::new(site, shards, Goal::GiveUp, options, report).go().await
}

/// Whether the change would begin, without writing anything: what would be written first, or `None` where there is nothing
/// to do.
///
/// # Errors
/// The change is not allowed, or a shard did not answer.
pub async fn dry_run(
    site: &Site,
    specs: &[RouteSpec],
    options: &ApplyOptions,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<Option<String>, ApplyError> {
    let shards = site.introduce(false).await?;
    let goal = Goal::Apply(Pending::new(shards.clone(), specs)?);
    let mut run = Run::new(site, shards, goal, options, report);
    run.dry();
    match run.go().await {
        Ok(_) => Ok(None),
        Err(ApplyError::Dry(first)) => Ok(Some(first)),
        Err(error) => Err(error),
    }
}
