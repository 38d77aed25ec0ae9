//! What others ask of the task that ships.

use bytes::Bytes;
use etcd_prism_ownership::migration::Bound;
use tokio::sync::oneshot;

use super::applier::Applier;
use super::{Aligned, Settled, ShipError};

/// Waits in the task until it can be answered.
#[derive(Debug)]
pub(crate) enum Request {
    /// The progress is to be stored: as soon as it is whole at this revision of the owner's, or now.
    Store { at_least: Option<i64>, answer: oneshot::Sender<Aligned> },
    /// The standby is to hold exactly what the owner had at this revision, and nothing more is to be written.
    Settle { raw: i64, answer: oneshot::Sender<Settled> },
    /// These keys are to be written anew.
    Repair { keys: Vec<Bytes>, answer: oneshot::Sender<()> },
}

impl Request {
    fn is_given_up(&self) -> bool {
        match self {
            Self::Store { answer, .. } => answer.is_closed(),
            Self::Settle { answer, .. } => answer.is_closed(),
            Self::Repair { answer, .. } => answer.is_closed(),
        }
    }
}

impl Applier {
    pub(super) fn accept(&mut self, mut request: Request) {
        if let Request::Repair { keys, .. } = &mut request {
            // What is not copied yet will be.
            keys.retain(|key| self.progress.stands_at(key).is_some());
            keys.iter().for_each(|key| self.holes.force(key.clone()));
        }
        self.waiting.push(request);
    }

    /// Answers those whose state is reached.
    pub(super) async fn answer(&mut self) -> Result<(), ShipError> {
        while let Ok(request) = self.requests.try_recv() {
            self.accept(request);
        }
        self.waiting.retain(|request| !request.is_given_up());
        self.answer_repairs();
        self.settle().await?;
        self.answer_stores().await
    }

    fn answer_repairs(&mut self) {
        let holes = &self.holes;
        let is_done = |request: &mut Request| match request {
            Request::Repair { keys, .. } => !keys.iter().any(|key| holes.is_forced(key)),
            _ => false,
        };
        for request in self.waiting.extract_if(.., is_done) {
            if let Request::Repair { answer, .. } = request {
                // Whoever asked may have gone.
                answer.send(()).ok();
            }
        }
    }

    /// Whether somebody waits for the present bound to be reached for good.
    pub(super) fn is_settling(&self) -> bool {
        let waits = |request: &Request| matches!(request, Request::Settle { raw, .. } if self.bound == Bound::At(*raw));
        self.waiting.iter().any(waits)
    }

    /// The standby is settled at a write of this shipper's, if nothing had ended there until then: what ends later ends in
    /// the next reign. Nothing of the route is written behind it, unless the bound is changed.
    async fn settle(&mut self) -> Result<(), ShipError> {
        let Bound::At(raw) = self.bound else { return Ok(()) };
        if !self.is_settling() {
            return Ok(());
        }
        if self.settled.is_none() {
            if self.progress.watermark != raw || !self.is_whole() || self.is_within_revision() {
                return Ok(());
            }
            // An earlier write would give away what ended since.
            if self.stored_watermark != raw || self.stored_under != self.bound {
                self.store_now().await?;
            }
            if self.holes.seen() < self.stored {
                return Ok(());
            }
        }
        let standby_revision = self.settled.unwrap_or(self.stored);
        let is_it = |request: &mut Request| matches!(request, Request::Settle { raw: at, .. } if *at == raw);
        for request in self.waiting.extract_if(.., is_it) {
            if let Request::Settle { answer, .. } = request
                && answer.send(Settled { standby_revision }).is_ok()
            {
                self.settled = Some(standby_revision);
            }
        }
        Ok(())
    }

    async fn answer_stores(&mut self) -> Result<(), ShipError> {
        let (whole, owner) = (self.is_whole(), self.progress.watermark);
        let is_ready = |request: &Request| match request {
            Request::Store { at_least, .. } => at_least.is_none_or(|at| whole && owner >= at),
            _ => false,
        };
        if !self.waiting.iter().any(is_ready) {
            return Ok(());
        }
        // Changes of a revision that is not complete may have been applied already.
        let aligns = |request: &Request| matches!(request, Request::Store { at_least: Some(_), .. });
        if self.waiting.iter().any(aligns) && self.is_within_revision() {
            return Ok(());
        }
        let standby = self.store_now().await?;
        for request in self.waiting.extract_if(.., |request| is_ready(request)) {
            if let Request::Store { answer, .. } = request {
                // Whoever asked may have gone.
                answer.send(Aligned { owner, standby }).ok();
            }
        }
        Ok(())
    }
}
