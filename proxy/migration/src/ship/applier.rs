//! The one task that writes to the standby.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::migration::{Bound, Throttle};
use etcd_prism_upstream::UpstreamError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::commit::{Committed, Writes};
use super::copy::PageSize;
use super::feed::{Feed, News};
use super::holes::Holes;
use super::io::Shard;
use super::leases::Bringer;
use super::numbers::Numbers;
use super::pace::Pace;
use super::pending::Pending;
use super::progress::Progress;
use super::requests::Request;
use super::status::{Shipped, Slow};
use super::verify;
use super::{Limits, Refused, ShipError, Shipment};

/// An idle route's watermark is stored this often.
const STORE: Duration = Duration::from_secs(3);
/// And how far it was looked at the standby, long before that is compacted. Each time is a write there.
const LOOKED: Duration = Duration::from_secs(60);
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

pub(crate) struct Applier {
    pub(super) job: Shipment,
    orders: watch::Receiver<Orders>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) waiting: Vec<Request>,
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
    pub(super) stored_looked: i64,
    stored_at: Instant,
    /// The bound that it was stored under.
    pub(super) stored_under: Bound,
    pub(super) bound: Bound,
    /// Nothing of the route is written under this bound any more: what the standby had at this revision of its own is what
    /// it is to have.
    pub(super) settled: Option<i64>,
    pub(super) limits: Limits,
    pub(super) bringer: Bringer,
    pub(super) pace: Pace,
    pub(super) page_size: PageSize,
    pub(super) pending: Pending,
    news: mpsc::Receiver<News>,
    out: mpsc::Sender<News>,
    hurry: Arc<Notify>,
    pub(super) holes: Holes,
    /// `None`: the standby has compacted what it was to tell next.
    pub(super) standby_feed: Option<AbortOnDropHandle<()>>,
    standby_news: mpsc::Receiver<News>,
    pub(super) standby_out: mpsc::Sender<News>,
    pub(super) standby_hurry: Arc<Notify>,
    pub(super) standby_trouble: Option<UpstreamError>,
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
        let (standby_out, standby_news) = mpsc::channel(NEWS);
        Self {
            writer: rand::random(),
            batches: 0,
            progress: Progress::default(),
            stored: 0,
            stored_watermark: 0,
            stored_looked: 0,
            stored_at: Instant::now(),
            stored_under: Bound::None,
            bound: job.stream.bound,
            settled: None,
            limits: job.limits,
            bringer: Bringer::new(job.leases.clone(), &job.route),
            pace: Pace::new(job.throttle.clone()),
            page_size: PageSize::default(),
            pending: Pending::default(),
            news,
            out,
            hurry: Arc::new(Notify::new()),
            holes: Holes::default(),
            standby_feed: None,
            standby_news,
            standby_out,
            standby_hurry: Arc::new(Notify::new()),
            standby_trouble: None,
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
            shard: self.job.from.clone(),
            intervals: self.job.intervals.clone(),
            only_deletes: false,
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
                match self.work().await {
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

    /// A bit of everything. Whether there was something to do.
    async fn work(&mut self) -> Result<bool, ShipError> {
        self.watch_again().await?;
        let shipped = self.apply().await?;
        // What is compacted cannot be read where the standby is: the log comes first.
        let looked =
            verify::unless_compacted(self.fill().await)? | verify::unless_compacted(self.sweep().await)?;
        Ok(shipped | looked | self.copy().await?)
    }

    /// The orders, from here on: nothing is under way.
    fn obey(&mut self) {
        let orders = self.orders.borrow_and_update().clone();
        if orders.bound != self.bound {
            self.settled = None;
        }
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
        while !self.holes.is_full()
            && let Ok(news) = self.standby_news.try_recv()
        {
            self.hear_standby(news);
        }
        Ok(())
    }

    fn hear(&mut self, news: News) -> Result<(), ShipError> {
        match news {
            News::Log { changes, complete, present: owner } => {
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
        if self.settled.is_some() {
            return Ok(());
        }
        let behind = self.progress.watermark > self.stored_watermark;
        let exact = self.bound == Bound::At(self.progress.watermark);
        let (looked, since) = (self.holes.looked(), self.stored_at.elapsed());
        let unknown = self.stored_looked == 0 && looked > 0;
        // Behind what was stored there is something of others.
        let unseen = looked > self.stored && since >= LOOKED;
        if behind && exact || (behind || unknown) && since >= STORE || unseen {
            self.store_now().await?;
        }
        Ok(())
    }

    /// Gives the revision that it was stored at.
    pub(super) async fn store_now(&mut self) -> Result<i64, ShipError> {
        match self.commit(&Writes::default(), self.progress.clone()).await? {
            Committed::At(revision) => Ok(revision),
            Committed::Moved | Committed::Unfit(_) => {
                Err(Shard(&self.job.to).bad("it does not take a progress").into())
            }
        }
    }

    /// The progress was written at this revision.
    pub(super) fn has_stored(&mut self, revision: i64) {
        (self.stored, self.stored_at, self.stored_under) = (revision, Instant::now(), self.bound);
        (self.stored_watermark, self.stored_looked) = (self.progress.watermark, self.progress.looked);
    }

    fn publish(&self) {
        let (progress, whole) = (&self.progress, self.is_whole());
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
            status.whole = whole;
            status.holes = self.holes.len();
            status.seen = self.holes.seen();
            status.copied = !copying;
            status.watermark = progress.watermark;
            status.owner = status.owner.max(progress.watermark);
            status.tally = progress.tally;
            if copying {
                status.keys_per_second = self.copied as f64 / seconds.max(0.001);
            }
            status.slow = slow;
            if self.pause.is_none() {
                let trouble = self.feed_trouble.as_ref().or(self.standby_trouble.as_ref());
                status.trouble = trouble.map(ToString::to_string);
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
        if self.is_settling() {
            self.standby_hurry.notify_one();
        }
        if let Some(pause) = self.pause {
            wake = wake.min(pause);
        } else if self.progress.cursor.is_some() && self.bound == Bound::None && self.pace.next() > now {
            wake = wake.min(self.pace.next());
        }
        let (listens, looks) = (self.pending.bytes() < PENDING, !self.holes.is_full());
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(ShipError::Stopped),
            changed = self.orders.changed() => changed.map_err(|_| ShipError::Stopped)?,
            request = self.requests.recv() => {
                let request = request.ok_or(ShipError::Stopped)?;
                self.accept(request);
            }
            news = self.news.recv(), if listens => {
                if let Some(news) = news {
                    self.hear(news)?;
                }
            }
            news = self.standby_news.recv(), if looks => {
                if let Some(news) = news {
                    self.hear_standby(news);
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
