//! The one task that writes to the standby.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::Stored;
use etcd_prism_ownership::keys;
use etcd_prism_ownership::migration::{Bound, Throttle};
use etcd_prism_upstream::UpstreamError;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::commit::{Committed, Writes};
use super::copy::PageSize;
use super::feed::{Feed, News};
use super::intervals::range;
use super::io::{Shard, get, mod_revision};
use super::leases::Bringer;
use super::numbers::Numbers;
use super::pace::Pace;
use super::pending::Pending;
use super::progress::Progress;
use super::status::{Shipped, Slow};
use super::{Aligned, Limits, Refused, ShipError, Shipment};

/// An idle route's watermark is stored this often.
const STORE: Duration = Duration::from_secs(3);
/// Changes that wait, in bytes; the watch is not read beyond it. With what is in the channel this is the memory of the log.
const PENDING: usize = 4 << 20;
/// Messages of the watch, each of about the owner's `--max-request-bytes`.
const NEWS: usize = 4;
/// Between progress requests while somebody waits for the watermark.
const HURRY: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(500);
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// What the task is to keep to.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) order: u64,
    pub(crate) bound: Bound,
    pub(crate) throttle: Throttle,
    /// Why nothing is copied.
    pub(crate) hold: Option<Slow>,
}

/// Somebody wants the progress to be stored: as soon as it is whole at this revision, or now.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) at_least: Option<i64>,
    pub(crate) answer: oneshot::Sender<Aligned>,
}

pub(crate) struct Applier {
    pub(super) job: Shipment,
    orders: watch::Receiver<Orders>,
    requests: mpsc::Receiver<Request>,
    waiting: Vec<Request>,
    pub(super) status: watch::Sender<Shipped>,
    pub(super) cancel: CancellationToken,
    /// What this shipper's transactions are known by.
    pub(super) writer: u64,
    pub(super) batches: u64,
    /// As applied. The watermark may be ahead of the stored one.
    pub(super) progress: Progress,
    /// The mod revision of the stored progress; 0: there is none.
    pub(super) stored: i64,
    pub(super) stored_watermark: i64,
    stored_at: Instant,
    pub(super) bound: Bound,
    pub(super) limits: Limits,
    pub(super) bringer: Bringer,
    pub(super) pace: Pace,
    pub(super) page_size: PageSize,
    pub(super) pending: Pending,
    news: mpsc::Receiver<News>,
    out: mpsc::Sender<News>,
    hurry: Arc<Notify>,
    /// Nothing is read from the shards before then, after an error.
    pause: Option<Instant>,
    backoff: Duration,
    /// Keys copied by this task, and when it began.
    pub(super) copied: u64,
    begun_at: Instant,
    feed_trouble: Option<UpstreamError>,
}

impl Applier {
    pub(crate) fn new(
        job: Shipment,
        orders: watch::Receiver<Orders>,
        requests: mpsc::Receiver<Request>,
        status: watch::Sender<Shipped>,
        cancel: CancellationToken,
    ) -> Self {
        let (out, news) = mpsc::channel(NEWS);
        Self {
            writer: rand::random(),
            batches: 0,
            progress: Progress::default(),
            stored: 0,
            stored_watermark: 0,
            stored_at: Instant::now(),
            bound: job.stream.bound,
            limits: job.limits,
            bringer: Bringer::new(job.leases.clone(), &job.route),
            pace: Pace::new(job.throttle.clone()),
            page_size: PageSize::default(),
            pending: Pending::default(),
            news,
            out,
            hurry: Arc::new(Notify::new()),
            pause: None,
            backoff: MIN_BACKOFF,
            copied: 0,
            begun_at: Instant::now(),
            feed_trouble: None,
            waiting: Vec::new(),
            job,
            orders,
            requests,
            status,
            cancel,
        }
    }

    /// Ships until it is told to stop, or cannot go on.
    pub(crate) async fn run(mut self) {
        let ended = match self.ship().await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        tracing::debug!(route = %self.job.route, %ended, "shipping has ended");
        self.publish();
        self.status.send_modify(|status| status.ended = Some(ended));
    }

    async fn ship(&mut self) -> Result<std::convert::Infallible, ShipError> {
        while let Err(error) = self.begin().await {
            self.later(error)?;
            self.wait().await?;
        }
        let watermark = self.progress.watermark;
        self.pending = Pending::new(watermark);
        let feed = Feed {
            owner: self.job.from.clone(),
            intervals: self.job.intervals.clone(),
            out: self.out.clone(),
            hurry: self.hurry.clone(),
        };
        let _feed = AbortOnDropHandle::new(tokio::spawn(feed.run(watermark)));
        self.begun_at = Instant::now();
        loop {
            if self.cancel.is_cancelled() {
                return Err(ShipError::Stopped);
            }
            self.obey();
            self.listen()?;
            let mut busy = false;
            if self.pause.is_none_or(|until| until <= Instant::now()) {
                self.pause = None;
                let done = async { Ok::<_, ShipError>(self.apply().await? | self.copy().await?) };
                match done.await {
                    Ok(done) => {
                        busy = done;
                        self.backoff = MIN_BACKOFF;
                    }
                    Err(error) => self.later(error)?,
                }
            }
            self.store().await?;
            self.answer().await?;
            self.publish();
            if !busy {
                self.wait().await?;
            }
        }
    }

    /// Reads how far the standby is; begins anew if what is stored is of an older reign.
    async fn begin(&mut self) -> Result<(), ShipError> {
        let keys = [keys::fence(&self.job.route), keys::progress(&self.job.route)];
        let (_, found) = Shard(&self.job.to).read(keys.map(|key| get(key.into())).into()).await?;
        let (fence, stored) = (mod_revision(found.first()), found.get(1).and_then(|range| range.kvs.first()));
        self.stored = stored.map_or(0, |kv| kv.mod_revision);
        let progress = stored.map(|kv| Progress::decode(&kv.value)).transpose()?;
        let reign = self.job.stream.reign.n;
        let newer = progress.as_ref().is_some_and(|progress| progress.reign > reign);
        if fence != self.job.stream.epoch || newer {
            return Err(self.refused(fence, self.stored).into());
        }
        let (owner, _) =
            Shard(&self.job.from).read(vec![get(keys::progress(&self.job.route).into())]).await?;
        match progress {
            Some(progress) if progress.reign == reign => {
                self.stored_watermark = progress.watermark;
                self.progress = progress;
            }
            _ => {
                let copies = self.job.stream.copy.is_some();
                let first = self.job.intervals.hull().0.to_vec();
                let watermark = if copies { owner } else { self.job.stream.after };
                let after = Progress::begin(reign, watermark, copies.then_some(&first), self.writer);
                let Committed::At(_) = self.commit(&Writes::default(), after).await? else {
                    return Err(Shard(&self.job.to).bad("it does not take a progress").into());
                };
            }
        }
        let left = match &self.progress.cursor {
            Some(cursor) => Some(self.count(&cursor.0).await?),
            None => None,
        };
        let expected_keys = Some(self.progress.tally.keys + left.unwrap_or(0));
        self.status.send_modify(|status| {
            status.begun = true;
            status.owner = status.owner.max(owner);
            status.expected_keys = expected_keys;
        });
        Ok(())
    }

    /// Keys of the owner from this one on.
    async fn count(&self, from: &[u8]) -> Result<u64, ShipError> {
        let mut keys = 0;
        for (start, end) in self.job.intervals.rests(from) {
            let mut request = range(start, end);
            request.count_only = true;
            let (_, reply) = Shard(&self.job.from).page(&request, 1 << 20).await?;
            keys += reply.count.max(0).unsigned_abs();
        }
        Ok(keys)
    }

    /// The orders, from here on: nothing is under way.
    fn obey(&mut self) {
        let orders = self.orders.borrow_and_update().clone();
        self.bound = orders.bound;
        self.pace.change(orders.throttle);
        self.pace.hold(orders.hold);
        self.status.send_modify(|status| {
            status.order = orders.order;
            status.bound = Some(orders.bound);
        });
    }

    /// Whether a new order says that the copy has to stop.
    pub(super) fn is_bound(&self) -> bool {
        self.cancel.is_cancelled() || self.orders.borrow().bound != Bound::None
    }

    /// Takes what the watch has told.
    fn listen(&mut self) -> Result<(), ShipError> {
        while self.pending.bytes() < PENDING
            && let Ok(news) = self.news.try_recv()
        {
            self.hear(news)?;
        }
        Ok(())
    }

    fn hear(&mut self, news: News) -> Result<(), ShipError> {
        match news {
            News::Log { changes, complete, owner } => {
                self.pending.push(changes, complete);
                self.feed_trouble = None;
                self.status.send_if_modified(|status| {
                    let newer = owner > status.owner;
                    status.owner = status.owner.max(owner);
                    newer
                });
            }
            News::Trouble(error) => {
                tracing::debug!(route = %self.job.route, %error, "the watch on the owner broke");
                self.feed_trouble = Some(error);
            }
            News::Compacted(compacted) => {
                let (shard, watermark) = (Shard(&self.job.from).name(), self.progress.watermark);
                return Err(ShipError::Compacted { shard, watermark, compacted });
            }
        }
        Ok(())
    }

    /// A shard that does not answer is tried again later; everything else is the end.
    fn later(&mut self, error: ShipError) -> Result<(), ShipError> {
        let ShipError::Upstream(error) = error else { return Err(error) };
        self.trouble(Some(&error));
        self.pause = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        Ok(())
    }

    pub(super) fn trouble(&self, error: Option<&UpstreamError>) {
        self.status.send_modify(|status| status.trouble = error.map(ToString::to_string));
    }

    /// Stores the watermark: from time to time, and where it has to be exact.
    async fn store(&mut self) -> Result<(), ShipError> {
        let behind = self.progress.watermark > self.stored_watermark;
        let exact = self.bound == Bound::At(self.progress.watermark);
        if behind && (exact || self.stored_at.elapsed() >= STORE) {
            self.store_now().await?;
        }
        Ok(())
    }

    /// Gives the revision that it was stored at.
    async fn store_now(&mut self) -> Result<i64, ShipError> {
        match self.commit(&Writes::default(), self.progress.clone()).await? {
            Committed::At(revision) => Ok(revision),
            Committed::Moved | Committed::Unfit(_) => {
                Err(Shard(&self.job.to).bad("it does not take a progress").into())
            }
        }
    }

    pub(super) fn has_stored(&mut self) {
        self.stored_at = Instant::now();
    }

    /// Answers those whose state is reached.
    async fn answer(&mut self) -> Result<(), ShipError> {
        while let Ok(request) = self.requests.try_recv() {
            self.waiting.push(request);
        }
        let (whole, owner) = (self.progress.is_whole(), self.progress.watermark);
        let is_ready = |request: &Request| request.at_least.is_none_or(|at| whole && owner >= at);
        if !self.waiting.iter().any(is_ready) {
            return Ok(());
        }
        // Changes of a revision that is not complete may have been applied already.
        if self.waiting.iter().any(|r| r.at_least.is_some()) && self.is_within_revision() {
            return Ok(());
        }
        let standby = self.store_now().await?;
        for request in self.waiting.extract_if(.., |request| is_ready(request)) {
            // Whoever asked may have gone.
            request.answer.send(Aligned { owner, standby }).ok();
        }
        Ok(())
    }

    fn publish(&self) {
        let progress = &self.progress;
        let copying = progress.cursor.is_some();
        let seconds = self.begun_at.elapsed().as_secs_f64();
        let slow = match self.bound {
            _ if !copying => None,
            Bound::None if self.must_wait_for_log() => Some(Slow::Log),
            Bound::None => self.pace.slow().cloned(),
            _ => Some(Slow::Bound),
        };
        self.status.send_modify(|status| {
            if !status.begun {
                return;
            }
            status.whole = progress.is_whole();
            status.copied = !copying;
            status.watermark = progress.watermark;
            status.owner = status.owner.max(progress.watermark);
            status.tally = progress.tally;
            if copying {
                status.keys_per_second = self.copied as f64 / seconds.max(0.001);
            }
            status.slow = slow;
            if self.pause.is_none() {
                status.trouble = self.feed_trouble.as_ref().map(ToString::to_string);
            }
        });
    }

    /// Until there may be something to do.
    async fn wait(&mut self) -> Result<(), ShipError> {
        let now = Instant::now();
        let hurries = match self.bound {
            Bound::At(raw) => self.progress.watermark < raw,
            Bound::None | Bound::Stop => false,
        };
        let mut wake = now + IDLE;
        if hurries || !self.waiting.is_empty() {
            self.hurry.notify_one();
            wake = now + HURRY;
        }
        if let Some(pause) = self.pause {
            wake = wake.min(pause);
        } else if self.progress.cursor.is_some() && self.bound == Bound::None && self.pace.next() > now {
            wake = wake.min(self.pace.next());
        }
        let listens = self.pending.bytes() < PENDING;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(ShipError::Stopped),
            changed = self.orders.changed() => changed.map_err(|_| ShipError::Stopped)?,
            request = self.requests.recv() => self.waiting.push(request.ok_or(ShipError::Stopped)?),
            news = self.news.recv(), if listens => {
                if let Some(news) = news {
                    self.hear(news)?;
                }
            }
            () = tokio::time::sleep_until(wake) => {}
        }
        Ok(())
    }

    pub(super) fn numbers(&self) -> Numbers<'_> {
        let line = self.job.from_line.as_ref().map(|(line, reign)| (line, *reign));
        Numbers { route: &self.job.route, shard: &self.job.from, line, at: None }
    }

    pub(super) fn refused(&self, fence: i64, progress: i64) -> Refused {
        Refused { shard: Shard(&self.job.to).name(), epoch: self.job.stream.epoch, fence, progress }
    }
}
