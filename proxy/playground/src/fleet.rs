//! All children together.

use std::time::Duration;

use futures_util::future::{self, join_all, select_all};

use crate::PlaygroundError;
use crate::child::{Child, Stopped};

/// How long a child has between SIGTERM and SIGKILL. Longer than a proxy takes to drain.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) shards: Vec<Child>,
    pub(crate) proxies: Vec<Child>,
}

// === impl Fleet ===

impl Fleet {
    /// Resolves when any child ends, with the error that this is; never when there are none.
    pub(crate) async fn any_died(&mut self) -> PlaygroundError {
        let children = self.shards.iter_mut().chain(&mut self.proxies);
        let mut endings: Vec<_> = children.map(|child| Box::pin(child.died())).collect();
        if endings.is_empty() {
            future::pending::<()>().await;
        }
        let (death, _, rest) = select_all(endings.drain(..)).await;
        drop(rest);
        death
    }

    /// Stops the proxies, then the shards under them: takes at most twice [`STOP_WITHIN`].
    pub(crate) async fn stop(&mut self) -> Result<(), PlaygroundError> {
        let mut killed = Vec::new();
        for tier in [&mut self.proxies, &mut self.shards] {
            let endings = tier.iter_mut().map(|child| async {
                let stopped = child.stop(STOP_WITHIN).await;
                (child.name.clone(), stopped)
            });
            for (name, stopped) in join_all(endings).await {
                if stopped? == Stopped::Killed {
                    killed.push(name);
                }
            }
        }
        if killed.is_empty() {
            Ok(())
        } else {
            Err(PlaygroundError::Killed { names: killed, within: STOP_WITHIN })
        }
    }
}
