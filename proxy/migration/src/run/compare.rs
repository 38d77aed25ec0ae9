//! The comparison of both shards, and that it goes on where it was broken off.

use etcd_prism_ownership::migration::{HexKey, VerifyPoint};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::Run;
use crate::ship::ShipError;
use crate::shipping::Verified;
use crate::verbs::Reply;

/// What comes of a comparison, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    end: Option<oneshot::Receiver<Result<Verified, ShipError>>>,
    askers: Vec<oneshot::Sender<Reply>>,
    /// The owner's reign.
    reign: u64,
    /// Keys that were compared before it was broken off.
    before: u64,
    /// How far it is, for the record; `None`: as the record says.
    point: Option<VerifyPoint>,
    compared: Option<u64>,
}

impl Comparison {
    /// Everything is copied anew: what was compared says nothing of it.
    pub(super) fn begin_again(&mut self) {
        if let Some(point) = &mut self.point {
            *point = VerifyPoint { under_way: point.under_way, ..VerifyPoint::default() };
        }
        (self.before, self.compared) = (0, Some(0));
    }

    /// Those who wait for it in vain.
    pub(super) fn give_up(&mut self) -> Vec<oneshot::Sender<Reply>> {
        std::mem::take(&mut self.askers)
    }
}

impl Run {
    /// An ask to compare.
    pub(super) fn verify(&mut self, reply: oneshot::Sender<Reply>) {
        self.take_comparison();
        if self.ship.is_none() {
            let text = "nothing is shipped now, so there is nothing to compare: see the status";
            // Whoever asked may have gone.
            drop(reply.send(Reply::refused(text)));
            return;
        }
        self.comparison.askers.push(reply);
        if self.comparison.end.is_none() {
            self.compare(Vec::new(), 0);
        }
    }

    /// Goes on with what was under way in another shipment, or with another driver.
    pub(super) fn compare_on(&mut self) {
        self.take_comparison();
        let point = self.ship.as_ref().map(|active| self.compared(active.reign()));
        if let Some((point, compared)) = point.filter(|(point, _)| point.under_way) {
            tracing::info!(route = self.setup.route.name, "migration: the comparison goes on");
            self.compare(point.after.map_or_else(Vec::new, |HexKey(key)| key), compared);
        }
    }

    fn compare(&mut self, from: Vec<u8>, before: u64) {
        let Some(active) = &mut self.ship else { return };
        self.comparison.reign = active.reign();
        self.comparison.before = before;
        self.comparison.end = Some(active.verify(from));
        self.note_comparison();
        self.store_progress();
    }

    /// Takes what has come of it.
    pub(super) fn take_comparison(&mut self) {
        let Some(mut end) = self.comparison.end.take() else { return };
        let answer = match end.try_recv() {
            Err(TryRecvError::Empty) => {
                self.comparison.end = Some(end);
                return;
            }
            Ok(Ok(mut found)) => {
                found.compared += self.comparison.before;
                self.comparison.compared = Some(found.compared);
                let (revision, done) = (self.watermark().unwrap_or(0), found.is_same());
                self.comparison.point = Some(VerifyPoint { revision, done, ..VerifyPoint::default() });
                self.store_progress();
                Reply::Verified(found)
            }
            Ok(Err(error)) => broken_off(&error.to_string()),
            Err(TryRecvError::Closed) => broken_off("another shipment begins"),
        };
        for asker in self.comparison.askers.drain(..) {
            // Whoever asked may have gone; the record is told all the same.
            drop(asker.send(answer.clone()));
        }
    }

    /// How far it is.
    pub(super) fn note_comparison(&mut self) {
        if self.comparison.end.is_none() {
            return;
        }
        if let Some(at) = self.ship.as_ref().and_then(|active| active.compared()) {
            self.comparison.compared = Some(self.comparison.before + at.keys);
            let after = Some(HexKey(at.next)).filter(|key| !key.0.is_empty());
            self.comparison.point = Some(VerifyPoint { after, under_way: true, ..VerifyPoint::default() });
        }
    }

    /// How far the comparison of a reign is, and how many keys were compared.
    pub(super) fn compared(&self, reign: u64) -> (VerifyPoint, u64) {
        let of = &self.comparison;
        let stored = self.driver.stored();
        let stored_point = stored.map(|record| &record.checkpoint).filter(|at| at.reign == reign);
        let point = of.point.as_ref().filter(|_| of.reign == reign);
        let point = point.or(stored_point.map(|at| &at.verify)).cloned().unwrap_or_default();
        let compared = of.compared.unwrap_or_else(|| stored.map_or(0, |record| record.counts.compared));
        (point, compared)
    }
}

fn broken_off(why: &str) -> Reply {
    Reply::refused(format!("the comparison was broken off, and goes on by itself: {why}"))
}
