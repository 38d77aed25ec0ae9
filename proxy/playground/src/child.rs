//! One child process: a shard or a proxy.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::PlaygroundError;

/// Lines of its log that are shown of a child that died, and the bytes that are read for them.
const TAIL_LINES: usize = 15;
const TAIL_BYTES: u64 = 16 * 1024;

pub(crate) struct Child {
    /// For people: `shard pods`, `prism-1`.
    pub(crate) name: String,
    pub(crate) log: PathBuf,
    pub(crate) process: tokio::process::Child,
}

/// How a child ended that was asked to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    InTime,
    Killed,
}

// === impl Child ===

impl Child {
    /// The process id; `None` once it has been reaped.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Resolves when the child ends, with the error that this is. May be dropped and called again.
    pub(crate) async fn died(&mut self) -> PlaygroundError {
        match self.process.wait().await {
            Err(cause) => PlaygroundError::Wait { name: self.name.clone(), cause },
            Ok(status) => {
                let tail = tail(&self.log).unwrap_or_else(|error| vec![format!("(unreadable: {error})")]);
                PlaygroundError::Died { name: self.name.clone(), status, log: self.log.clone(), tail }
            }
        }
    }

    /// Sends SIGTERM, and SIGKILL to a child that still runs after `within`.
    pub(crate) async fn stop(&mut self, within: Duration) -> Result<Stopped, PlaygroundError> {
        let Some(pid) = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())) else {
            return Ok(Stopped::InTime);
        };
        let failed = |cause| PlaygroundError::Wait { name: self.name.clone(), cause };
        // Not reaped yet, so the pid is still this child's.
        kill_process(pid, Signal::TERM).map_err(|errno| failed(errno.into()))?;
        match tokio::time::timeout(within, self.process.wait()).await {
            Ok(ended) => ended.map(|_status| Stopped::InTime).map_err(failed),
            Err(_elapsed) => self.process.kill().await.map(|()| Stopped::Killed).map_err(failed),
        }
    }
}

fn tail(log: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(log)?;
    let skipped = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec())
}
