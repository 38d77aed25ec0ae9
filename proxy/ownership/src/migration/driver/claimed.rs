//! The owner is open and names the other shard.

use super::super::{Abort, Checkpoint, Event, Phase, Reason, Record, Standing, Want, rows};
use super::decide::Pair;
use super::{Command, Driver, Goal, Outcome, Purge, Waiting};
use crate::keys;
use crate::txn::{Txn, Write};
use crate::value::{ReignRecord, State};

impl Driver {
    pub(super) fn linked(&mut self, pair: &Pair) -> Result<Command, Reason> {
        self.claimed = true;
        self.account(pair);
        match self.goal {
            Goal::Settle => return Ok(Command::Done(Outcome::Settled)),
            Goal::Switch { to } if to == pair.owner.shard && self.reversible(pair) => {
                return Ok(Command::Done(Outcome::Switched { owner: to }));
            }
            Goal::Complete { abandon } | Goal::Cancel { abandon } => return self.ending(pair, abandon),
            _ => {}
        }
        if !pair.reachable {
            return Ok(Command::Wait(Waiting::Unreachable(pair.other)));
        }
        if self.record().is_some_and(|(_, record)| record.want != Want::Follow && !record.phase.is_over()) {
            // Two drivers would undo each other's work for ever.
            return Err(Reason::Ending);
        }
        let Some(standby) = pair.standby.as_ref().filter(|standby| self.usable(standby, pair)) else {
            return self.begin(pair);
        };
        self.suits(standby)?;
        if let Some(command) = self.take_over(standby, pair)? {
            return Ok(command);
        }
        let Some((revision, record)) = self.record() else { return self.begin(pair) };
        if let Some(epoch) = self.restart {
            return self.begin_again(epoch, standby, revision, record);
        }
        let (phase, paused) = (record.phase, record.paused);
        if let Some(changed) = self.unsaved(record) {
            return Ok(self.save(revision, changed));
        }
        match (phase, &self.goal) {
            (Phase::Purge, _) => self.purge_first(standby),
            (Phase::Copy, _) if paused => Ok(Command::Wait(Waiting::Paused)),
            (Phase::Copy, _) => Ok(Command::Copy),
            (_, Goal::Switch { to }) if *to == pair.other && paused => Ok(Command::Wait(Waiting::Paused)),
            (_, Goal::Switch { to }) if *to == pair.other => self.ready(pair, standby),
            _ => Ok(Command::Wait(Waiting::Following { aborted: self.aborted.clone() })),
        }
    }

    /// What has become of the switch that this driver began.
    fn account(&mut self, pair: &Pair) {
        let Some(switch) = self.switch.take() else { return };
        self.proved = None;
        let given_up = self.given_up.take();
        if switch.owner != pair.owner.shard {
            let g = self.reign(pair.owner.shard, pair.owner.fence.n).map_or(0, |(reign, _)| reign.after);
            let pause = switch.pause();
            self.notes.push(Event::Switched { at: self.now, to: pair.owner.shard, g, pause });
            // The roles are swapped: this driver has still to make an epoch of the new standby, if it did not finish itself.
            self.held = self.held.filter(|(shard, _)| *shard != pair.owner.shard);
            return;
        }
        let why = given_up.unwrap_or(if switch.decided { Abort::Killed } else { Abort::Elsewhere });
        self.notes.push(Event::Aborted { at: self.now, why: why.clone(), pause: switch.pause() });
        self.aborted = Some(why);
        if matches!(self.goal, Goal::Switch { .. }) {
            self.goal = Goal::Follow;
        }
    }

    /// After a switch the former owner follows, unless it cannot be reached.
    fn reversible(&self, pair: &Pair) -> bool {
        !pair.reachable || pair.standby.as_ref().is_some_and(|standby| standby.follows(&pair.owner))
    }

    /// Row 1. What an abandoned migration left on the target is retired first: it has missed what happened since, and what
    /// was retired is purged before it is used.
    pub(super) fn claim(&self, pair: &Pair) -> Result<Command, Reason> {
        if !pair.reachable {
            return Ok(Command::Wait(Waiting::Unreachable(pair.other)));
        }
        self.row(match &pair.standby {
            Some(left) if left.fence.state != State::Retired => rows::retire(&self.route, &pair.owner, left),
            _ => rows::claim(&self.route, &pair.owner, self.target),
        })
    }

    /// Whether what is asked for can be had of the migration that goes on.
    fn suits(&self, standby: &Standing) -> Result<(), Reason> {
        let Some((_, record)) = self.record() else { return Ok(()) };
        match &self.goal {
            Goal::Create(options) if options.no_copy != record.options.no_copy && !record.phase.is_over() => {
                Err(Reason::OtherOptions { no_copy: record.options.no_copy })
            }
            // Nothing was shipped there: it holds what it held when it was left.
            Goal::Switch { to } if *to == standby.shard && *to == self.source && record.options.no_copy => {
                Err(Reason::NoWayBack)
            }
            _ => Ok(()),
        }
    }

    /// Whether the standby is this migration's. One that ruled before needs no record.
    fn usable(&self, standby: &Standing, pair: &Pair) -> bool {
        let known = match standby.fence.state {
            State::Importing { .. } => self.record().is_some_and(|(_, record)| {
                !record.phase.is_over() && record.source == pair.owner.shard && record.target == standby.shard
            }),
            _ => true,
        };
        known && standby.fence.definition == pair.owner.fence.definition && standby.follows(&pair.owner)
    }

    /// Row 2, with a new record.
    fn begin(&mut self, pair: &Pair) -> Result<Command, Reason> {
        if pair.other != self.target {
            return Err(Reason::NotOwner { owner: pair.owner.shard });
        }
        let mut txn = rows::import(&self.route, &pair.owner, self.target, pair.standby.as_ref())?;
        let (found, before) = match self.record() {
            Some((revision, record)) => (revision, Some(record)),
            None => (0, None),
        };
        let options = match (&self.goal, before) {
            (Goal::Create(options), _) => options.clone(),
            (_, Some(before)) if !before.phase.is_over() => before.options.clone(),
            _ => return Err(Reason::NotClaimed),
        };
        let (n, history) = (pair.owner.fence.n, before.map(|b| b.history.clone()));
        let mut record = Record::new(pair.owner.revision, self.source, self.target, n, options, self.now);
        record.history = history.unwrap_or_default();
        self.sign(&mut record);
        let key = keys::migration(&self.route);
        txn.compares.push((key.clone(), found));
        txn.puts.push((key, Write::Migration(Box::new(record))));
        Ok(Command::Write(txn))
    }

    /// Row 2a, and the driver's name in the record.
    fn take_over(&mut self, standby: &Standing, pair: &Pair) -> Result<Option<Command>, Reason> {
        match self.held {
            Some((shard, epoch)) if shard == standby.shard => {
                if epoch != standby.revision {
                    return Err(Reason::Superseded);
                }
            }
            // The roles were swapped, and not by this driver: whoever did it drives.
            Some(_) => return Err(Reason::Superseded),
            None => return Ok(Some(Command::Write(rows::raise(&self.route, standby)?))),
        }
        let mine = self.record().is_some_and(|(_, r)| r.driver.as_ref() == Some(&self.me));
        if mine {
            return Ok(None);
        }
        let (revision, mut record) = match self.record() {
            Some((revision, record)) => (revision, record.clone()),
            None => {
                // Somebody deleted it after the switch: only what people read is lost.
                let (n, options) = (pair.owner.fence.n, super::Options::default());
                let mut record = Record::new(0, self.source, self.target, n, options, self.now);
                record.phase = Phase::Follow;
                (0, record)
            }
        };
        self.sign(&mut record);
        Ok(Some(self.save(revision, record)))
    }

    fn sign(&self, record: &mut Record) {
        record.driver = Some(self.me.clone());
        record.note(Event::Driver { at: self.now, name: self.me.name.clone() });
    }

    pub(super) fn save(&self, revision: i64, record: Record) -> Command {
        Command::Write(Txn::migration(&self.route, self.target, revision, record))
    }

    /// What the record does not say yet.
    fn unsaved(&self, record: &Record) -> Option<Record> {
        let mut new = record.clone();
        if let Some((checkpoint, counts)) = &self.progress {
            new.checkpoint = checkpoint.clone();
            new.counts = counts.clone();
            if new.phase == Phase::Copy && new.checkpoint.copy.done {
                new.phase = Phase::Follow;
                new.timings.copied = Some(self.now);
            }
            if new.checkpoint.verify.done && new.timings.verified.is_none() {
                new.timings.verified = Some(self.now);
            }
        }
        new.edit(&self.edit);
        for note in &self.notes {
            if let (Event::Switched { .. }, None) = (note, new.timings.switched) {
                new.timings.switched = Some(self.now);
            }
            new.note(note.clone());
        }
        (new != *record).then_some(new)
    }

    /// What the standby held before is deleted, and then the epoch moves on: a page that was delayed must not delete what
    /// was copied.
    fn purge_first(&mut self, standby: &Standing) -> Result<Command, Reason> {
        let purge = Purge { shard: standby.shard, epoch: standby.revision };
        let purged = self.record().map(|(revision, record)| {
            let phase = if record.options.no_copy { Phase::Follow } else { Phase::Copy };
            (revision, Record { phase, ..record.clone() })
        });
        // The record is on the target, whoever follows.
        let here = standby.shard == self.target;
        if let Some((revision, record)) = &purged
            && !here
            && self.cleared == Some(standby.revision)
        {
            return Ok(self.save(*revision, record.clone()));
        }
        if self.purged != Some(purge) {
            return Ok(Command::Purge(purge));
        }
        let mut txn = rows::raise(&self.route, standby)?;
        if let Some((revision, record)) = purged.filter(|_| here) {
            let key = keys::migration(&self.route);
            txn.compares.push((key.clone(), revision));
            txn.puts.push((key, Write::Migration(Box::new(record))));
        }
        Ok(Command::Write(txn))
    }

    /// What was applied so far is to be purged, under an epoch that none of it was sent under.
    fn begin_again(
        &self,
        epoch: i64,
        standby: &Standing,
        revision: i64,
        record: &Record,
    ) -> Result<Command, Reason> {
        if standby.revision == epoch {
            return self.row(rows::raise(&self.route, standby));
        }
        let mut record = record.clone();
        record.phase = Phase::Purge;
        record.checkpoint = Checkpoint { reign: record.checkpoint.reign, ..Checkpoint::default() };
        record.timings.copied = None;
        self.notes.iter().for_each(|note| record.note(note.clone()));
        Ok(self.save(revision, record))
    }

    /// Everything that can be known before clients have to wait, then row 3.
    fn ready(&mut self, pair: &Pair, standby: &Standing) -> Result<Command, Reason> {
        let epoch = standby.revision;
        if let Some(why) = self.given_up.take() {
            self.aborted = Some(why);
            self.goal = Goal::Follow;
            return self.linked(pair);
        }
        if self.followed != Some(epoch) {
            return Ok(Command::ListFollowers { waiting: self.waiting.clone() });
        }
        if self.proved != Some(epoch) {
            return Ok(Command::Prove { standby: standby.shard, epoch });
        }
        self.reign(pair.owner.shard, pair.owner.fence.n)?;
        self.row(rows::seal(&self.route, &pair.owner))
    }

    /// Rows 8 and 9.
    fn ending(&mut self, pair: &Pair, abandon: bool) -> Result<Command, Reason> {
        let cancel = matches!(self.goal, Goal::Cancel { .. });
        let reigned = pair.owner.shard == self.target;
        if cancel && reigned {
            return Err(Reason::TooLate);
        }
        let importing =
            pair.standby.as_ref().is_some_and(|s| matches!(s.fence.state, State::Importing { .. }));
        if !cancel && !reigned && importing {
            return Err(Reason::TooEarly);
        }
        // Behind this migration's end the other shard was retired: what is imported there is the next one's.
        if importing && reigned && self.record().is_some_and(|(_, record)| record.phase.is_over()) {
            return Err(Reason::EndedElsewhere);
        }
        if !pair.reachable && !abandon {
            return Ok(Command::Wait(Waiting::Unreachable(pair.other)));
        }
        if !pair.reachable
            && let Some(txn) = self.cut_off(pair)
        {
            return Ok(Command::Write(txn));
        }
        if let Some(command) = self.end_standby(pair)? {
            return Ok(command);
        }
        if !self.relocated {
            return Ok(Command::Relocate { to: pair.owner.shard });
        }
        self.row(rows::unlink(&self.route, &pair.owner))
    }

    /// What the lost shard held of the line is given up: whoever waits for it is told that it was compacted.
    fn cut_off(&self, pair: &Pair) -> Option<Txn> {
        let Pair { owner, other, .. } = pair;
        let (written, record) = self.view(owner.shard)?.reign_record(owner.fence.n)?;
        let line = record.line(written);
        let lost = line.iter().rposition(|reign| reign.shard == *other)?;
        let floor = line.get(lost + 1)?.after;
        if record.floor >= floor {
            return None;
        }
        let since = record.raw_start(written).saturating_sub(1);
        let key = keys::reign(&self.route, owner.fence.n);
        let mut txn = Txn::fence(&self.route, owner.revision, owner.fence.clone());
        txn.compares.push((key.clone(), written));
        txn.puts.push((key, Write::Reign(ReignRecord { floor, since, ..record.clone() })));
        Some(txn)
    }

    /// What is wanted is stored, the standby retired and purged, its copies of leases are for the route no more, the end is
    /// stored; `None` once that is done, or cannot be.
    pub(super) fn end_standby(&mut self, pair: &Pair) -> Result<Option<Command>, Reason> {
        let (want, over, abandon) = match self.goal {
            Goal::Cancel { abandon } => (Want::Cancel, Phase::Cancelled, abandon),
            Goal::Complete { abandon } => (Want::Complete, Phase::Completed, abandon),
            _ => (Want::Complete, Phase::Completed, false),
        };
        let record = self.record().map(|(revision, record)| (revision, record.clone()));
        if let Some((revision, record)) = &record
            && !record.phase.is_over()
            && record.want != want
        {
            let mut record = Record { want, ..record.clone() };
            self.notes.iter().for_each(|note| record.note(note.clone()));
            return Ok(Some(self.save(*revision, record)));
        }
        if let Some(standby) = &pair.standby {
            // It had the leases like any shard that rules. Once its keys are gone nobody can tell that it need not have them.
            let ruled = matches!(standby.fence.state, State::Standby { .. });
            if ruled && !self.demoted && !abandon {
                return Ok(Some(Command::Demote { standby: standby.shard }));
            }
            if standby.fence.state != State::Retired {
                return Ok(Some(Command::Write(rows::retire(&self.route, &pair.owner, standby)?)));
            }
            // Also where the record says that it is over: the shard may have been away then.
            let purge = Purge { shard: standby.shard, epoch: standby.revision };
            if self.purged != Some(purge) {
                return Ok(Some(Command::Purge(purge)));
            }
        }
        // It cannot rule again before another migration puts its copies back into the records.
        if !self.released {
            return Ok(Some(Command::Release { standby: pair.other }));
        }
        if let Some((revision, record)) = record
            && !record.phase.is_over()
        {
            let mut record = Record { phase: over, ..record };
            record.timings.ended = Some(self.now);
            return Ok(Some(self.save(revision, record)));
        }
        Ok(None)
    }
}
