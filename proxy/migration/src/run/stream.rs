//! The shipment that runs beside the commands.

use std::sync::Arc;
use std::time::Duration;

use etcd_prism_ownership::ShardUid;
use etcd_prism_ownership::migration::{Abort, Bound, Checkpoint, CopyPoint, Counts, Stream, Throttle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Run;
use crate::ship::{self, Compared, ShipError, Shipment, Shipper};
use crate::shipping::{Shipped, Verified};

/// Between two times that progress is stored in the record.
const STORE: Duration = Duration::from_secs(5);

/// What a shipment was begun for: another one needs another shipment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    from: ShardUid,
    to: ShardUid,
    epoch: i64,
    reign: u64,
}

impl Key {
    fn of(stream: &Stream) -> Self {
        Self { from: stream.from, to: stream.to, epoch: stream.epoch, reign: stream.reign.n }
    }
}

/// A shipment that runs.
pub(super) struct Active {
    key: Key,
    bound: Bound,
    throttle: Throttle,
    job: Shipment,
    shipper: Arc<Shipper>,
    /// The comparison that was begun last.
    comparing: Option<Comparing>,
}

/// A comparison that runs.
struct Comparing {
    task: JoinHandle<()>,
    at: watch::Receiver<ComparedTo>,
}

/// How far a comparison is.
#[derive(Debug, Clone, Default)]
pub(super) struct ComparedTo {
    /// The first key to go on with: before it nothing differs.
    pub(super) next: Vec<u8>,
    pub(super) keys: u64,
}

impl ComparedTo {
    fn take(&mut self, compared: &Compared) {
        // What could not be put right is to be found again.
        if let Some(next) = compared.next.as_ref().filter(|_| compared.mismatches.count() == 0) {
            (self.next, self.keys) = (next.clone(), compared.keys);
        }
    }
}

impl Active {
    pub(super) fn shipper(&self) -> &Shipper {
        &self.shipper
    }

    pub(super) fn shipped(&self) -> Shipped {
        Shipped::from(&*self.shipper.status().borrow())
    }

    pub(super) fn reign(&self) -> u64 {
        self.key.reign
    }

    /// Compares both shards in the background, from a key on. One at a time.
    pub(super) fn verify(&mut self, from: Vec<u8>) -> oneshot::Receiver<Result<Verified, ShipError>> {
        let (job, shipper) = (self.job.clone(), self.shipper.clone());
        let (tell, end) = oneshot::channel();
        let (told, at) = watch::channel(ComparedTo { next: from.clone(), keys: 0 });
        let task = tokio::spawn(async move {
            let found = ship::verify(&job, &shipper, &from, |compared| {
                told.send_modify(|at| at.take(compared));
            })
            .await;
            drop(shipper);
            // Nobody listens where the driver has ended meanwhile.
            drop(tell.send(found.map(Verified::from)));
        });
        self.comparing = Some(Comparing { task, at });
        end
    }

    /// How far the last comparison is.
    pub(super) fn compared(&self) -> Option<ComparedTo> {
        self.comparing.as_ref().map(|comparing| comparing.at.borrow().clone())
    }

    pub(super) async fn stop(self) {
        if let Some(Comparing { task, .. }) = self.comparing {
            task.abort();
            // What it had begun to say is lost with it.
            drop(task.await);
        }
        if let Some(shipper) = Arc::into_inner(self.shipper) {
            shipper.stop().await;
        }
    }
}

impl Run {
    /// Makes what runs what has to run.
    pub(super) async fn tend(&mut self) {
        self.mourn().await;
        let wanted = self.driver.stream();
        let throttle = self.throttle();
        if wanted.is_none() && self.driver.sealed().is_some() {
            // It stands at its bound, or its epoch has passed: clients do not wait until it is taken down.
            return;
        }
        let fits = |active: &Active| wanted.as_ref().is_some_and(|stream| active.key == Key::of(stream));
        if self.ship.as_ref().is_some_and(|active| !fits(active))
            && let Some(active) = self.ship.take()
        {
            active.stop().await;
        }
        let Some(stream) = wanted else { return };
        if self.ship.is_none() {
            self.begin(&stream, &throttle);
        }
        let patience = self.patience();
        if let Some(active) = &mut self.ship {
            if active.bound != stream.bound {
                let told = tokio::time::timeout(patience, active.shipper.bound(stream.bound)).await;
                // Otherwise it is told again.
                if matches!(told, Ok(Ok(()))) {
                    active.bound = stream.bound;
                }
            }
            if active.throttle != throttle {
                active.shipper.throttle(throttle.clone());
                active.throttle = throttle;
            }
        }
    }

    /// Whether nothing is applied any more: it has said so, or there is nothing.
    pub(super) fn is_stopped(&self) -> bool {
        self.ship.as_ref().is_none_or(|active| active.bound == Bound::Stop)
    }

    fn begin(&mut self, stream: &Stream, throttle: &Throttle) {
        match self.setup.ships.shipment(&self.setup.route, stream, throttle) {
            Ok(job) => {
                let (key, bound, throttle) = (Key::of(stream), stream.bound, throttle.clone());
                let shipper = Arc::new(Shipper::start(job.clone()));
                self.fed = None;
                self.ship = Some(Active { key, bound, throttle, job, shipper, comparing: None });
                self.compare_on();
            }
            Err(reason) => self.trouble = Some(reason),
        }
    }

    /// Tells the engine of a shipment that has ended by itself.
    async fn mourn(&mut self) {
        let ended = self.ship.as_ref().and_then(|active| active.shipper.status().borrow().ended.clone());
        let Some(ended) = ended else { return };
        if let Some(active) = self.ship.take() {
            active.stop().await;
        }
        match ended {
            ShipError::Refused(_) => self.driver.refused(),
            error @ ShipError::Compacted { .. } => {
                let text = error.to_string();
                tracing::warn!(route = self.setup.route.name, text, "migration: begun anew");
                if self.driver.sealed().is_some() {
                    self.driver.give_up(Abort::Other(text));
                }
                self.driver.compacted();
                self.comparison.begin_again();
            }
            error => self.trouble = Some(error.to_string()),
        }
        if self.driver.sealed().is_none() {
            self.nap(super::RETRY).await;
        }
    }

    /// How far the shipment is, as it is stored; `None`: nothing runs, or it has not begun.
    pub(super) fn progress(&self) -> Option<(Checkpoint, Counts)> {
        let active = self.ship.as_ref()?;
        let shipped = active.shipped();
        let stored = self.driver.stored()?;
        let reign = active.key.reign;
        // What is missing for a moment was copied all the same.
        let done = shipped.copied || stored.checkpoint.reign == reign && stored.checkpoint.copy.done;
        let copy = CopyPoint { done, ..CopyPoint::default() };
        let (verify, compared) = self.compared(reign);
        let checkpoint = Checkpoint { reign, copy, followed: shipped.watermark?, verify };
        let copies = active.key.to == self.setup.target
            && (stored.timings.switched.is_none() || shipped.counts.keys > 0);
        let counts = if copies {
            Counts { compared, ..shipped.counts }
        } else {
            // What was copied stays what it was; this is the way back, or there again.
            let repaired = stored.counts.repaired.max(shipped.counts.repaired);
            let mirrored = shipped.counts.followed_events;
            Counts { compared, mirrored, repaired, ..stored.counts.clone() }
        };
        Some((checkpoint, counts))
    }

    /// Has progress stored at the next occasion.
    pub(super) fn store_progress(&mut self) {
        if let Some((checkpoint, counts)) = self.progress() {
            self.driver.progress(checkpoint, counts);
        }
    }

    /// Has progress stored: when the copy is done, and from time to time.
    pub(super) fn feed(&mut self) {
        let Some((checkpoint, counts)) = self.progress() else { return };
        let copied = self.driver.stored().is_some_and(|record| record.checkpoint.copy.done);
        let is_due = self.fed.is_none_or(|fed| fed.elapsed() >= STORE);
        if is_due || checkpoint.copy.done != copied {
            self.fed = Some(Instant::now());
            self.driver.progress(checkpoint, counts);
        }
    }
}
