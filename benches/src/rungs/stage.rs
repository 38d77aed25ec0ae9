//! A fresh etcd, and fresh proxies in front of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::client::connection::{Connection, Method};
use crate::client::request;
use crate::error::BenchError;
use crate::rungs::moving::Moving;
use crate::rungs::{RungKind, Tools, commands};
use crate::system::ports;
use crate::system::process::Process;
use crate::system::scratch::Scratch;

const READY_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// What a stage is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Whether etcd syncs its log to disk.
    pub(crate) fsync: bool,
    /// How long each rung is measured, in all.
    pub(crate) measured: Duration,
}

/// Everything that is measured, running. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    // Dropped in this order: proxies and their own etcds, etcd, its files.
    pub(crate) rungs: Vec<Rung>,
    etcd: Process,
    address: SocketAddr,
    _scratch: Scratch,
}

/// One way to etcd.
#[derive(Debug)]
pub(crate) struct Rung {
    pub(crate) kind: RungKind,
    pub(crate) address: SocketAddr,
    /// The proxy; `None` for the direct way.
    pub(crate) proxy: Option<Process>,
    /// Its own etcds, where something moves between them.
    moving: Option<Moving>,
}

impl Stage {
    /// Starts etcd and the proxies of `rungs` with their files in `folder`, and waits until each answers.
    pub(crate) async fn start(
        tools: &Tools,
        rungs: &[RungKind],
        folder: &Path,
        plan: Plan,
    ) -> Result<Self, BenchError> {
        let scratch = Scratch::new(folder)?;
        let address = ports::free()?;
        let args = commands::etcd(address, &scratch, plan.fsync)?;
        let mut etcd = Process::start("etcd", &tools.etcd, &args, scratch.path())?;
        answers(&mut etcd, "etcd", address).await?;
        let mut started = Vec::new();
        for &kind in rungs {
            started.push(Rung::start(kind, tools, address, &scratch, plan).await?);
        }
        Ok(Self { rungs: started, etcd, address, _scratch: scratch })
    }

    /// Where to put what the works read: etcd, and the rungs that have others of their own.
    pub(crate) fn stores(&self) -> Vec<SocketAddr> {
        let own = self.rungs.iter().filter(|rung| rung.moving.is_some()).map(|rung| rung.address);
        std::iter::once(self.address).chain(own).collect()
    }

    /// Brings each rung to where it is to be measured, once everything is there that the work reads.
    pub(crate) async fn arrange(&self) -> Result<(), BenchError> {
        for rung in &self.rungs {
            if let Some(moving) = &rung.moving {
                moving.arrange(rung.address).await?;
            }
        }
        Ok(())
    }

    /// Fails when something has ended that is measured at `place`.
    pub(crate) fn check(&mut self, place: usize) -> Result<(), BenchError> {
        let rung = &mut self.rungs[place];
        rung.proxy.as_mut().map_or(Ok(()), Process::check)?;
        rung.moving.as_mut().map_or(Ok(()), Moving::check)?;
        self.etcd.check()
    }

    /// The etcds behind the rung at `place`.
    pub(crate) fn etcd_pids(&self, place: usize) -> Vec<u32> {
        let own = self.rungs[place].moving.as_ref();
        own.map_or_else(|| vec![self.etcd.pid()], |moving| moving.pids().to_vec())
    }
}

impl Rung {
    async fn start(
        kind: RungKind,
        tools: &Tools,
        etcd: SocketAddr,
        scratch: &Scratch,
        plan: Plan,
    ) -> Result<Self, BenchError> {
        let Some(program) = tools.program(kind)? else {
            return Ok(Self { kind, address: etcd, proxy: None, moving: None });
        };
        let address = ports::free()?;
        let mut moving = None;
        let args = if kind.moves() {
            let admin = ports::free()?;
            let own = Moving::start(kind, tools, program, admin, scratch, plan).await?;
            let text = commands::moving_config(address, admin, own.shards());
            moving = Some(own);
            let config = scratch.write(&format!("{kind}.toml"), &text)?;
            vec!["serve".into(), "--config".into(), config.into()]
        } else {
            commands::proxy(kind, address, etcd, scratch)?
        };
        let mut proxy = Process::start(kind.name(), program, &args, scratch.path())?;
        answers(&mut proxy, kind.name(), address).await?;
        Ok(Self { kind, address, proxy: Some(proxy), moving })
    }

    /// Before it is measured.
    pub(crate) async fn begin(&self) -> Result<(), BenchError> {
        match &self.moving {
            Some(moving) => moving.begin().await,
            None => Ok(()),
        }
    }

    /// After it was measured.
    pub(crate) async fn end(&self) -> Result<(), BenchError> {
        match &self.moving {
            Some(moving) => moving.end().await,
            None => Ok(()),
        }
    }
}

/// Waits until a read through `address` succeeds.
pub(super) async fn answers(
    process: &mut Process,
    name: &str,
    address: SocketAddr,
) -> Result<(), BenchError> {
    let start = Instant::now();
    let mut attempts = interval(ATTEMPT_PAUSE);
    attempts.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        attempts.tick().await;
        process.check()?;
        let last = match timeout(ATTEMPT_LIMIT, read(address)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if start.elapsed() > READY_LIMIT {
            let seconds = READY_LIMIT.as_secs();
            return Err(BenchError::NotReady {
                name: name.to_owned(),
                seconds,
                last,
                log: process.log_tail(),
            });
        }
    }
}

async fn read(address: SocketAddr) -> Result<(), BenchError> {
    let mut caller = Connection::open(address).await?.caller(Method::Range)?;
    let frame = request::frame(&request::get(Bytes::from_static(b"/registry/health")))?;
    caller.call(frame).await.map(drop)
}
