//! A route that moves between two etcds of its own, by the commands that an operator uses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::process::Command;
use tokio::time::sleep;

use crate::error::BenchError;
use crate::load;
use crate::rungs::commands::{self, MOVED_ROUTE};
use crate::rungs::stage::{Plan, answers};
use crate::rungs::{RungKind, Tools};
use crate::system::ports;
use crate::system::process::Process;
use crate::system::scratch::Scratch;

/// How fast is copied: enough to be seen, and slow enough to last.
const KEYS_PER_SECOND: u32 = 2_000;
/// How much longer a copy lasts than it is measured.
const SPARE: Duration = Duration::from_secs(5);
const COPY_LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);

/// Two etcds, and how the proxy in front of them is told to move the route.
#[derive(Debug)]
pub(crate) struct Moving {
    kind: RungKind,
    etcds: [Etcd; 2],
    prism: PathBuf,
    admin: SocketAddr,
    measured: Duration,
}

#[derive(Debug)]
struct Etcd {
    process: Process,
    address: SocketAddr,
    _scratch: Scratch,
}

impl Etcd {
    async fn start(tools: &Tools, folder: &Path, fsync: bool) -> Result<Self, BenchError> {
        let scratch = Scratch::new(folder)?;
        let address = ports::free()?;
        let args = commands::etcd(address, &scratch, fsync)?;
        let mut process = Process::start("etcd", &tools.etcd, &args, scratch.path())?;
        answers(&mut process, "etcd", address).await?;
        Ok(Self { process, address, _scratch: scratch })
    }
}

impl Moving {
    /// Starts the etcds, with their files in `scratch`. `admin` is that of the proxy that will be in front of them.
    pub(super) async fn start(
        kind: RungKind,
        tools: &Tools,
        prism: &Path,
        admin: SocketAddr,
        scratch: &Scratch,
        plan: Plan,
    ) -> Result<Self, BenchError> {
        let etcds = [
            Etcd::start(tools, scratch.path(), plan.fsync).await?,
            Etcd::start(tools, scratch.path(), plan.fsync).await?,
        ];
        Ok(Self { kind, etcds, prism: prism.to_owned(), admin, measured: plan.measured })
    }

    pub(super) fn shards(&self) -> [SocketAddr; 2] {
        self.etcds.each_ref().map(|etcd| etcd.address)
    }

    pub(super) fn pids(&self) -> [u32; 2] {
        self.etcds.each_ref().map(|etcd| etcd.process.pid())
    }

    pub(super) fn check(&mut self) -> Result<(), BenchError> {
        self.etcds.iter_mut().try_for_each(|etcd| etcd.process.check())
    }

    /// Brings the route to where it is to be measured. `proxy` is the proxy's address for clients.
    pub(super) async fn arrange(&self, proxy: SocketAddr) -> Result<(), BenchError> {
        match self.kind {
            RungKind::Copying => {
                // Keys beside those of the work, which they follow.
                let keys = (self.measured + SPARE).as_secs_f64() * f64::from(KEYS_PER_SECOND);
                load::fill(proxy, keys as usize).await?;
                let rate = KEYS_PER_SECOND.to_string();
                self.migrate("create", &["--to", "b", "--keys-per-second", &rate]).await?;
                self.reaches("copy").await?;
                self.migrate("pause", &[]).await?;
            }
            RungKind::Followed | RungKind::Switched | RungKind::Completed => {
                self.migrate("create", &["--to", "b"]).await?;
                self.reaches("follow").await?;
            }
            _ => {}
        }
        if matches!(self.kind, RungKind::Switched | RungKind::Completed) {
            self.migrate("switch", &[]).await?;
        }
        if self.kind == RungKind::Completed {
            self.migrate("complete", &[]).await?;
        }
        Ok(())
    }

    /// It copies while it is measured, and only then: it costs the other rungs nothing.
    pub(super) async fn begin(&self) -> Result<(), BenchError> {
        if self.kind == RungKind::Copying {
            self.migrate("resume", &[]).await?;
        }
        Ok(())
    }

    pub(super) async fn end(&self) -> Result<(), BenchError> {
        if self.kind == RungKind::Copying {
            self.migrate("pause", &[]).await?;
            if self.phase().await? != "copy" {
                return Err(BenchError::CopyEnded);
            }
        }
        Ok(())
    }

    async fn reaches(&self, phase: &str) -> Result<(), BenchError> {
        let start = Instant::now();
        loop {
            let found = self.phase().await?;
            if found == phase {
                return Ok(());
            }
            if start.elapsed() > COPY_LIMIT {
                let text = format!("in phase {found} after {} s, not {phase}", COPY_LIMIT.as_secs());
                return Err(BenchError::Migrate { verb: "status".to_owned(), text });
            }
            sleep(LOOK).await;
        }
    }

    async fn phase(&self) -> Result<String, BenchError> {
        let status = self.migrate("status", &[]).await?;
        Ok(status["phase"].as_str().unwrap_or_default().to_owned())
    }

    /// What the command prints as JSON.
    async fn migrate(&self, verb: &str, args: &[&str]) -> Result<Value, BenchError> {
        let mut command = Command::new(&self.prism);
        command.args(["migrate", verb, MOVED_ROUTE]).args(args);
        command.args(["--admin", &self.admin.to_string(), "--output", "json"]).kill_on_drop(true);
        let output = command.output().await;
        let output =
            output.map_err(|cause| BenchError::io(format!("run {}", self.prism.display()), cause))?;
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            return Err(BenchError::Migrate { verb: verb.to_owned(), text });
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}
