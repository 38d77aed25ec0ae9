//! What becomes of watchers when their routes are served otherwise than before.

use etcd_prism_control::RouteLine;
use etcd_prism_routing::ShardId;
use etcd_prism_wire::Status;

use super::driver::Driver;
use super::line::InReign;
use super::outbox::Source;
use super::watcher::{Leg, LegState};
use crate::context::Context;
use crate::place::Grant;

const MOVED: &str = "etcd-prism: the route has moved";

/// What a leg whose route is served otherwise has to do.
enum Turn {
    /// Nobody serves the route at the moment.
    Wait,
    /// The route is served where it was, in the reign in which it was.
    Stay(Grant, Option<InReign>),
    /// Its reign has ended: it gets the rest of it and then goes on in the next.
    End(Grant, InReign),
    /// What follows cannot be read.
    Compacted(i64),
    /// Its client has to resume: on a new stream, which finds the route where it is now.
    Resume(String),
}

impl Driver {
    /// Ownership has changed somewhere: whatever is not served any more as it was is held back, what may go on does, and
    /// what was moved is handed over.
    pub(super) fn on_ownership(&mut self) -> Result<(), Status> {
        let turned = |leg: &Leg| leg.state == LegState::Held || !leg.grant.stands(&self.cx);
        let creating = self.creating.as_ref().map(|c| (c.id, &c.watcher));
        let watchers = self.watchers.iter().map(|(id, w)| (*id, w)).chain(creating);
        let mut legs: Vec<(i64, ShardId)> = Vec::new();
        for (id, watcher) in watchers {
            legs.extend(watcher.legs.iter().filter(|leg| turned(leg)).map(|leg| (id, leg.shard)));
        }
        if legs.is_empty() {
            return Ok(());
        }
        for (id, shard) in &legs {
            self.turn(*id, *shard)?;
        }
        let mut shards: Vec<ShardId> = legs.into_iter().map(|(_, shard)| shard).collect();
        shards.sort_unstable();
        shards.dedup();
        for shard in shards {
            self.unpause(shard);
            // Where the link is open already. Otherwise they are asked for when it is.
            self.ask_again(shard);
        }
        self.ask_ends();
        Ok(())
    }

    fn turn(&mut self, id: i64, shard: ShardId) -> Result<(), Status> {
        let cx = self.cx.clone();
        let creating = self.creating.as_ref().filter(|c| c.id == id).map(|c| &c.watcher);
        let is_creating = creating.is_some();
        let Some(watcher) = self.watchers.get(&id).or(creating) else { return Ok(()) };
        let whole = watcher.is_whole();
        let Some(leg) = watcher.legs.iter().find(|l| l.shard == shard) else { return Ok(()) };
        let (state, is_ended) = (leg.state, leg.is_ended());
        let turn = leg.turn(&cx);
        match turn {
            Turn::Wait if is_ended => Ok(()),
            Turn::Wait => match state {
                LegState::Asked => self.hold(shard),
                LegState::Live if is_creating => self.hold(shard),
                // The rest of what its client has a part of must not be waited for: everything else waits behind it.
                LegState::Live if self.outbox.has_part_of(Source::of(id, shard)) => self.hold(shard),
                LegState::Live => self.set(id, shard, |leg| leg.state = LegState::Paused),
                LegState::Waiting => self.set(id, shard, |leg| leg.state = LegState::Held),
                LegState::Held | LegState::Paused => Ok(()),
            },
            Turn::Stay(grant, at) => {
                if !matches!(state, LegState::Held | LegState::Waiting) {
                    self.hold(shard)?;
                }
                self.set(id, shard, |leg| {
                    leg.grant = grant;
                    leg.at = at;
                    leg.state = LegState::Waiting;
                })
            }
            // Its client was told nothing yet.
            Turn::End(..) | Turn::Compacted(_) | Turn::Resume(_) if is_creating => {
                self.place_again();
                Ok(())
            }
            Turn::End(grant, at) if whole => {
                self.end_of_reign(id, shard, grant, at);
                Ok(())
            }
            Turn::Compacted(revision) if whole => {
                self.tell_compacted(id, revision);
                Ok(())
            }
            Turn::End(..) | Turn::Compacted(_) => Err(Self::resumable(MOVED)),
            Turn::Resume(reason) => Err(Self::resumable(reason)),
        }
    }

    fn set(&mut self, id: i64, shard: ShardId, change: impl FnOnce(&mut Leg)) -> Result<(), Status> {
        if let Some(leg) = self.leg_mut(id, shard) {
            change(leg);
        }
        Ok(())
    }

    /// Drops what is on its way from a shard, because some of it was asked for by a right that is gone. Nothing is lost:
    /// every watcher goes on where its client left off, those of other routes at once.
    pub(super) fn hold(&mut self, shard: ShardId) -> Result<(), Status> {
        let partial = |id: &i64| self.outbox.has_part_of(Source::of(*id, shard));
        if self.watchers.keys().any(partial) {
            return Err(Self::resumable("etcd-prism: ownership changed within a fragmented response"));
        }
        self.gates.remove(&shard);
        if let Some(link) = self.links.get_mut(&shard) {
            link.close();
        }
        self.legs_lost(shard);
        let cx = self.cx.clone();
        for leg in self.legs_mut().filter(|leg| leg.shard == shard && !leg.is_ended()) {
            if !leg.grant.stands(&cx) {
                leg.state = LegState::Held;
            }
        }
        Ok(())
    }

    /// What was kept of a shard's messages, and what waited for leave, is looked at again.
    fn unpause(&mut self, shard: ShardId) {
        let gate = self.gates.remove(&shard);
        let Some(link) = self.links.get_mut(&shard) else { return };
        if let Some(gate) = gate {
            link.put_back(gate.into_message());
        }
        link.give_again();
    }

    pub(super) fn legs(&self) -> impl Iterator<Item = &Leg> {
        let creating = self.creating.as_ref().map(|c| &c.watcher);
        self.watchers.values().chain(creating).flat_map(|w| &w.legs)
    }

    fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        self.watchers
            .values_mut()
            .chain(self.creating.as_mut().map(|c| &mut c.watcher))
            .flat_map(|w| &mut w.legs)
    }

    pub(super) fn leg_mut(&mut self, id: i64, shard: ShardId) -> Option<&mut Leg> {
        let creating = self.creating.as_mut().filter(|c| c.id == id).map(|c| &mut c.watcher);
        self.watchers.get_mut(&id).or(creating)?.leg_mut(shard)
    }
}

impl Leg {
    fn turn(&self, cx: &Context) -> Turn {
        let grant = match self.grant.renewed(cx) {
            Ok(Some(grant)) => grant,
            Ok(None) => return Turn::Wait,
            Err(error) => return Turn::Resume(error.status().message.into_owned()),
        };
        let line = grant.line().map(|moved| moved.line.clone());
        let Some(line) = line else {
            let stays = self.at.is_none() && grant.shard == self.shard && self.may_resume(grant.floor());
            return if stays { Turn::Stay(grant, None) } else { Turn::Resume(MOVED.to_owned()) };
        };
        let at = self.reign_in(&line).and_then(|reign| InReign::new(&line, reign));
        let Some(at) = at else { return Turn::Compacted(line.floor() + 1) };
        match line.last(at.reign) {
            None if grant.shard == self.shard => Turn::Stay(grant, Some(at)),
            None => Turn::Resume(MOVED.to_owned()),
            // The next reign has not what this one had, or this one cannot be read any more.
            Some(last) if last <= line.floor() => Turn::Compacted(line.floor() + 1),
            Some(_) => Turn::End(grant, at),
        }
    }

    /// The index of the leg's reign in a line that was learnt of.
    fn reign_in(&self, line: &RouteLine) -> Option<usize> {
        match &self.at {
            Some(at) => at.index_in(line),
            // What was served without a line is the first reign of all.
            None => {
                let here = line.shard(0).is_none_or(|shard| shard == self.shard);
                line.reign(0).filter(|first| here && first.offset() == 0).map(|_| 0)
            }
        }
    }
}
