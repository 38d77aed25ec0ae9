//! A fresh etcd, and fresh proxies in front of it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::client::connection::{Connection, Method};
use crate::client::request;
use crate::error::BenchError;
use crate::rungs::{RungKind, Tools, commands};
use crate::system::ports;
use crate::system::process::Process;
use crate::system::scratch::Scratch;

const READY_LIMIT: Duration = Duration::from_secs(30);
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);

/// Everything that is measured, running. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    // Dropped in this order: proxies, etcd, their files.
    pub(crate) rungs: Vec<Rung>,
    pub(crate) etcd: Process,
    pub(crate) address: SocketAddr,
    _scratch: Scratch,
}

/// One way to etcd.
#[derive(Debug)]
pub(crate) struct Rung {
    pub(crate) kind: RungKind,
    pub(crate) address: SocketAddr,
    /// The proxy; `None` for the direct way.
    pub(crate) proxy: Option<Process>,
}

impl Stage {
    /// Starts etcd and the proxies of `rungs` with their files in `folder`, and waits until each answers.
    pub(crate) async fn start(
        tools: &Tools,
        rungs: &[RungKind],
        folder: &Path,
        fsync: bool,
    ) -> Result<Self, BenchError> {
        let scratch = Scratch::new(folder)?;
        let address = ports::free()?;
        let args = commands::etcd(address, &scratch, fsync)?;
        let mut etcd = Process::start("etcd", &tools.etcd, &args, scratch.path())?;
        answers(&mut etcd, "etcd", address).await?;
        let mut started = Vec::new();
        for &kind in rungs {
            started.push(Rung::start(kind, tools, address, &scratch).await?);
        }
        Ok(Self { rungs: started, etcd, address, _scratch: scratch })
    }
}

impl Rung {
    async fn start(
        kind: RungKind,
        tools: &Tools,
        etcd: SocketAddr,
        scratch: &Scratch,
    ) -> Result<Self, BenchError> {
        let Some(program) = tools.program(kind)? else {
            return Ok(Self { kind, address: etcd, proxy: None });
        };
        let address = ports::free()?;
        let args = commands::proxy(kind, address, etcd, scratch)?;
        let mut proxy = Process::start(kind.name(), program, &args, scratch.path())?;
        answers(&mut proxy, kind.name(), address).await?;
        Ok(Self { kind, address, proxy: Some(proxy) })
    }
}

/// Waits until a read through `address` succeeds.
async fn answers(process: &mut Process, name: &str, address: SocketAddr) -> Result<(), BenchError> {
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
