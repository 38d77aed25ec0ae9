//! The IO for the engine of a change.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use etcd_prism_ownership::change::{Command, Driver, Goal, Options, Reason};
use etcd_prism_ownership::id::ShardUid;
use etcd_prism_ownership::txn::{Txn, Write};
use etcd_prism_ownership::value::TableShard;
use etcd_prism_upstream::{ShardPool, UpstreamError};

use super::{Applied, ApplyError, ApplyOptions, Progress};
use crate::reading::Reading;
use crate::site::Site;
use crate::{call, probe};

/// Between two looks at the sessions, and between attempts at a shard that did not answer.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a shard may fail to answer while nothing is under way.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for a look at a shard's keys.
const PROBE: Duration = Duration::from_secs(30);

/// One attempt.
pub(super) struct Run<'a> {
    site: &'a Site,
    /// In the order of the site's pools.
    shards: Vec<TableShard>,
    driver: Driver,
    options: &'a ApplyOptions,
    report: &'a mut (dyn FnMut(Progress) + Send),
    /// When this driver sealed the first fence, or found one sealed.
    sealed: Option<Instant>,
    /// From then until the last fence was opened.
    paused: Option<Duration>,
    /// There is only forward.
    committed: bool,
    /// Since when a shard has not done what it was asked for, which, and whether it was to be read.
    failing: Option<(Instant, ShardUid, bool)>,
    /// Left out, because it did not answer: nothing but tidying up goes on without it.
    lost: Option<(ShardUid, UpstreamError)>,
    given_up: bool,
    /// Nothing is written.
    dry: bool,
}

/// No proxy translates revisions yet, so a reign cannot be lifted.
fn engine_options(options: &ApplyOptions) -> Options {
    Options { lower_revisions: options.lower_revisions, lifted_reigns: false }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        site: &'a Site,
        shards: Vec<TableShard>,
        goal: Goal,
        options: &'a ApplyOptions,
        report: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Self {
        let ids = shards.iter().map(|s| s.id).collect();
        let driver = Driver::new(ids, goal, engine_options(options));
        let (sealed, paused, failing, lost) = (None, None, None, None);
        Self {
            site,
            shards,
            driver,
            options,
            report,
            sealed,
            paused,
            failing,
            lost,
            committed: false,
            given_up: false,
            dry: false,
        }
    }

    /// Nothing is to be written: it ends with [`ApplyError::Dry`] before the first write.
    pub(super) fn dry(&mut self) {
        self.dry = true;
    }

    pub(super) async fn go(mut self) -> Result<Applied, ApplyError> {
        loop {
            self.watch_the_clock();
            let mut is_read = false;
            let (shard, outcome) = match self.driver.next() {
                Command::Done { generation } => {
                    return Ok(Applied { generation, paused: self.paused });
                }
                Command::Stopped(reason) => {
                    return Err(match self.lost {
                        Some((_, error)) => ApplyError::Unfinished { error },
                        None => ApplyError::Stopped(reason),
                    });
                }
                Command::Read(shard) => {
                    is_read = true;
                    (shard, self.read(shard).await)
                }
                Command::List { shard, waiting } => (shard, self.list(shard, waiting).await),
                Command::Probe { claim, shard, intervals } => {
                    let name = self.name(shard);
                    (self.report)(Progress::Probing(name));
                    let probed = match self.pool(shard) {
                        Ok(pool) => probe::first_key(pool, &intervals, PROBE).await,
                        Err(error) => Err(error),
                    };
                    (shard, probed.map(|p| self.driver.probed(claim, shard, p.revision, p.found)))
                }
                Command::Write(txn) if self.dry => return Err(ApplyError::Dry(self.describe(&txn))),
                Command::Write(txn) => (txn.shard, self.write(&txn).await),
            };
            match outcome {
                Ok(()) => {
                    // A shard that refuses writes may well be read between two of them.
                    if self.failing.is_some_and(|(_, of, read)| of == shard && read == is_read) {
                        self.failing = None;
                    }
                }
                Err(error) => self.failed(shard, error, is_read).await?,
            }
        }
    }

    fn watch_the_clock(&mut self) {
        if self.committed {
            return;
        }
        let reason = if self.options.interrupt.is_cancelled() {
            "interrupted".to_owned()
        } else if self.sealed.is_some_and(|since| since.elapsed() > self.options.max_pause) {
            format!("it took longer than {:?} (--max-pause)", self.options.max_pause)
        } else {
            return;
        };
        self.given_up = true;
        self.driver.give_up(Reason::GivenUp(reason));
    }

    async fn read(&mut self, shard: ShardUid) -> Result<(), UpstreamError> {
        let reading = Reading::of(self.pool(shard)?, self.site.patience).await?;
        self.driver.read(shard, reading.snapshot);
        Ok(())
    }

    async fn list(
        &mut self,
        shard: ShardUid,
        waiting: Vec<(etcd_prism_ownership::ProxyId, String)>,
    ) -> Result<(), UpstreamError> {
        // Whoever sealed it: from now on it is this driver's pause.
        self.sealed.get_or_insert_with(Instant::now);
        if !waiting.is_empty() {
            (self.report)(Progress::Waiting(waiting.into_iter().map(|(_, name)| name).collect()));
            tokio::time::sleep(PAUSE).await;
        }
        let reading = Reading::of(self.pool(shard)?, self.site.patience).await?;
        self.driver.listed(shard, &reading.sessions);
        Ok(())
    }

    async fn write(&mut self, txn: &Txn) -> Result<(), UpstreamError> {
        let what = self.describe(txn);
        (self.report)(Progress::Writing(what));
        let outcome = match self.pool(txn.shard) {
            Ok(pool) => call::write(pool, txn, self.site.patience).await,
            Err(error) => Err(error),
        };
        let revision = outcome.as_ref().ok().copied().flatten();
        self.driver.answered(txn, revision);
        if revision.is_some() {
            self.time(txn);
        }
        outcome.map(|_| ())
    }

    fn time(&mut self, txn: &Txn) {
        use etcd_prism_ownership::State;
        for (_, write) in &txn.puts {
            match write {
                Write::Fence(fence) if matches!(fence.state, State::Sealed { .. }) => {
                    self.sealed.get_or_insert_with(Instant::now);
                }
                Write::Fence(fence) if fence.state.is_open() => {
                    self.paused = self.sealed.map(|since| since.elapsed());
                }
                Write::Table(table) if table.pending.is_none() && !self.given_up => self.committed = true,
                _ => {}
            }
        }
    }

    async fn failed(
        &mut self,
        shard: ShardUid,
        error: UpstreamError,
        is_read: bool,
    ) -> Result<(), ApplyError> {
        (self.report)(Progress::Retrying(error.to_string()));
        let since = match self.failing {
            Some((since, of, _)) if of == shard => since,
            _ => Instant::now(),
        };
        self.failing = Some((since, shard, is_read));
        if call::is_full(&error) && !self.given_up {
            self.given_up = true;
            self.driver.give_up(Reason::GivenUp(format!(
                "shard {} is full: compact and defragment it and disarm the alarm, or raise its quota",
                self.name(shard)
            )));
            return Ok(());
        }
        let bound = if self.sealed.is_some() { self.options.max_pause } else { PATIENCE };
        if since.elapsed() < bound && !self.given_up {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        // Whatever is under way ends where the shards can be reached, so that what is sealed there is served again.
        let ids: BTreeSet<ShardUid> = self.shards.iter().map(|s| s.id).filter(|id| *id != shard).collect();
        if self.lost.is_some() || ids.is_empty() {
            return Err(ApplyError::Unfinished { error });
        }
        let options = engine_options(self.options);
        self.driver = Driver::new(ids, Goal::GiveUp, options);
        self.driver.give_up(Reason::GivenUp(error.to_string()));
        self.given_up = true;
        self.failing = None;
        self.lost = Some((shard, error));
        Ok(())
    }

    fn pool(&self, shard: ShardUid) -> Result<&'a ShardPool, UpstreamError> {
        let at = self.shards.iter().position(|s| s.id == shard);
        let site: &'a Site = self.site;
        at.and_then(|at| site.pool(at)).ok_or_else(|| UpstreamError::Unreachable {
            shard: shard.to_string(),
            reason: "the configuration has no shard of this identity".to_owned(),
        })
    }

    fn name(&self, shard: ShardUid) -> String {
        self.shards.iter().find(|s| s.id == shard).map_or_else(|| shard.to_string(), |s| s.name.clone())
    }

    fn describe(&self, txn: &Txn) -> String {
        let shard = self.name(txn.shard);
        let part = |(key, write): &(Vec<u8>, Write)| match write {
            Write::Fence(fence) => match etcd_prism_ownership::keys::parse(key) {
                Some(etcd_prism_ownership::keys::Key::Fence(route)) => {
                    format!("fence of {route} on {shard}: {}", fence.state.name())
                }
                _ => format!("a fence on {shard}"),
            },
            Write::Reign(reign) if reign.floor > 0 => format!(
                "reign {} begins there, and whoever watches the route from revision {} or earlier lists again",
                reign.n, reign.floor
            ),
            Write::Reign(reign) => format!("reign {} begins there", reign.n),
            Write::Table(table) => {
                let pending = if table.pending.is_some() { ", with a change under way" } else { "" };
                format!("table on {shard}: generation {}{pending}", table.generation)
            }
            Write::Migration(_) => format!("record of a migration on {shard}"),
        };
        txn.puts.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}
