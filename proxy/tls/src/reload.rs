//! Configurations that follow their files.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use etcd_prism_config::{ClientTls, ServerTls};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::TlsError;
use crate::pem::Opener;

#[cfg(test)]
mod tests;

/// How often [`Reloading::watch`] looks at the files. Their content is compared, because neither times nor file events are
/// reliable across the symlinks that Kubernetes swaps.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Files are read until two passes agree, so that a swap between two of them is not taken for a new pair.
const PASSES: usize = 16;

/// TLS towards clients, from a `[listen.tls]`.
pub type ReloadingServerConfig = Reloading<ServerTls>;

/// TLS towards one shard, from its `[shard.tls]`.
pub type ReloadingClientConfig = Reloading<ClientTls>;

/// Names files and builds a configuration from them. Sealed: its module is private.
pub trait Source: Send + Sync + 'static {
    type Files;
    type Config: Send + Sync + 'static;

    fn read(&self, opener: &mut Opener) -> Result<Self::Files, TlsError>;
    fn build(&self, files: &Self::Files) -> Result<Self::Config, TlsError>;
    /// One path, for log lines.
    fn describe(&self) -> String;
}

/// A configuration and the files that it came from. Changed files replace it for handshakes to come; files that cannot be
/// used leave it as it is.
pub struct Reloading<S: Source> {
    source: S,
    current: ArcSwap<S::Config>,
    last: Mutex<Last>,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// What was seen last.
struct Last {
    /// The files that are in force.
    active: [u8; 32],
    /// Since then the files have been something that cannot be used.
    failed: Option<Failed>,
}

/// One state of the files that cannot be used.
struct Failed {
    /// `None` when they could not even be read.
    seen: Option<[u8; 32]>,
    error: TlsError,
}

// === impl Reloading ===

impl<S: Source> Reloading<S> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// They cannot be used.
    pub fn load(source: S) -> Result<Arc<Self>, TlsError> {
        let (active, files) = read_settled(&source)?;
        let current = ArcSwap::from_pointee(source.build(&files)?);
        let last = Mutex::new(Last { active, failed: None });
        Ok(Arc::new(Self { source, current, last, reloads: AtomicU64::new(0), failures: AtomicU64::new(0) }))
    }

    /// What the next handshake uses.
    pub fn current(&self) -> Arc<S::Config> {
        self.current.load_full()
    }

    /// How often changed files have come into force.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// How often the files have changed to something that cannot be used.
    pub fn reload_failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Looks at the files now, as on SIGHUP: whether something new came into force. Blocks on file IO.
    ///
    /// # Errors
    ///
    /// The files cannot be used; what was in force stays. Every call says so as long as it is so, while the log and the
    /// counter take each change of content once.
    pub fn reload(&self) -> Result<bool, TlsError> {
        // Held throughout: two passes at once could put an older generation in force after a newer one.
        let mut last = self.last.lock();
        let (seen, files) = match read_settled(&self.source) {
            Ok((sum, files)) => (sum, files),
            Err(error) => return Err(self.fail(&mut last, None, error)),
        };
        if seen == last.active {
            last.failed = None;
            return Ok(false);
        }
        if let Some(failed) = last.failed.as_ref().filter(|failed| failed.seen == Some(seen)) {
            return Err(failed.error.clone());
        }
        match self.source.build(&files) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                *last = Last { active: seen, failed: None };
                self.reloads.fetch_add(1, Ordering::Relaxed);
                tracing::info!(files = %self.source.describe(), "TLS files changed and are in force");
                Ok(true)
            }
            Err(error) => Err(self.fail(&mut last, Some(seen), error)),
        }
    }

    /// Follows the files until cancelled, looking every [`POLL_INTERVAL`].
    pub async fn watch(self: Arc<Self>, cancel: CancellationToken) {
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let this = self.clone();
            // What `reload` returns it has also logged and counted; only a task that died would go unseen.
            if let Err(error) = tokio::task::spawn_blocking(move || this.reload()).await {
                tracing::error!(%error, files = %self.source.describe(), "looking at TLS files failed");
            }
        }
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    fn fail(&self, last: &mut Last, seen: Option<[u8; 32]>, error: TlsError) -> TlsError {
        let known = last.failed.as_ref().is_some_and(|failed| failed.seen == seen && failed.error == error);
        if !known {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "TLS files changed and cannot be used; those before stay in force");
            last.failed = Some(Failed { seen, error: error.clone() });
        }
        error
    }
}

/// Leaves the configuration out: it holds a private key.
impl<S: Source> fmt::Debug for Reloading<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.source.describe()).finish_non_exhaustive()
    }
}

fn read_settled<S: Source>(source: &S) -> Result<([u8; 32], S::Files), TlsError> {
    let mut before = read_once(source)?;
    for _ in 1..PASSES {
        let now = read_once(source)?;
        if now.0 == before.0 {
            return Ok(now);
        }
        before = now;
    }
    Err(TlsError::Unsettled { path: source.describe().into() })
}

fn read_once<S: Source>(source: &S) -> Result<([u8; 32], S::Files), TlsError> {
    let mut opener = Opener::default();
    let files = source.read(&mut opener)?;
    Ok((opener.finish(), files))
}
