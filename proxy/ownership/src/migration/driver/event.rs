//! What becomes of commands.

use super::super::{Abort, Checkpoint, Counts, Edit, Event, Phase, Record, View};
use super::{Driver, Lists, Purge, Seen, Switch};
use crate::drain::{Drained, SessionList, drained};
use crate::id::{ProxyId, ShardUid};
use crate::keys::{self, Key};
use crate::txn::{Txn, Write};
use crate::value::{Fence, MIGRATES, Session, State, ValueError};

impl Driver {
    pub fn read(&mut self, shard: ShardUid, view: View) {
        self.set(shard, Seen::View(Box::new(view)));
    }

    pub fn unreachable(&mut self, shard: ShardUid) {
        self.set(shard, Seen::Unreachable);
    }

    /// Both shards are read again.
    pub fn look_again(&mut self) {
        self.seen = [Seen::Unread, Seen::Unread];
        self.followed = None;
    }

    /// Whether this is what was read of the shard (`None`: not reachable); if not, [`Self::look_again`] is of use.
    pub fn has_seen(&self, shard: ShardUid, found: Option<&View>) -> bool {
        let revisions = |view: &View| {
            (view.fence.as_ref().map(|(revision, _)| *revision), view.record.as_ref().map(|(r, _)| *r))
        };
        self.view(shard).map(revisions) == found.map(revisions)
    }

    /// The outcome of a Txn: its revision if it succeeded, `None` if it was refused or nobody knows.
    pub fn answered(&mut self, txn: &Txn, revision: Option<i64>) {
        match revision {
            Some(revision) => self.written(txn, revision),
            None => self.look_again(),
        }
    }

    /// A purge, an apply or a test write was refused by the fence.
    pub fn refused(&mut self) {
        self.look_again();
    }

    pub fn purged(&mut self, purge: Purge) {
        self.purged = Some(purge);
    }

    /// How far copy, stream and comparison are; stored at the next occasion. The shards must have taken all of it.
    pub fn progress(&mut self, checkpoint: Checkpoint, counts: Counts) {
        self.progress = Some((checkpoint, counts));
    }

    /// The owner has compacted what was not applied yet: everything begins anew, with a purge.
    pub fn compacted(&mut self) {
        self.progress = None;
        if let (None, Some((_, epoch))) = (self.restart, self.held) {
            self.restart = Some(epoch);
            self.notes.push(Event::Restarted { at: self.now });
        }
    }

    /// Added to the history, at the next occasion.
    pub fn note(&mut self, event: Event) {
        self.notes.push(event);
    }

    /// Stored at the next occasion. Another edit replaces what it names.
    pub fn edit(&mut self, edit: Edit) {
        let old = std::mem::take(&mut self.edit);
        self.edit = Edit {
            paused: edit.paused.or(old.paused),
            max_pause: edit.max_pause.or(old.max_pause),
            throttle: edit.throttle.or(old.throttle),
        };
    }

    /// Every session at the owner must have one at the standby that follows under the present epoch.
    pub fn listed(&mut self, lists: &Lists) {
        let Some((_, epoch)) = self.held else { return };
        let follows = |proxy: ProxyId| {
            let session = lists.standby.sessions.iter().find(|(id, _)| *id == proxy);
            matches!(session, Some((_, Ok(session)))
                if session.protocol >= MIGRATES && session.acks.get(&*self.route) == Some(&epoch))
        };
        let waiting = lists.owner.sessions.iter().filter(|(proxy, _)| !follows(*proxy));
        let name = |(proxy, session): &(ProxyId, Result<Session, ValueError>)| match session {
            Ok(session) => (*proxy, session.name.clone()),
            Err(error) => (*proxy, format!("{error}")),
        };
        self.waiting = waiting.map(name).collect();
        self.followed = self.waiting.is_empty().then_some(epoch);
    }

    /// Nothing speaks against a switch, under this epoch.
    pub fn proved(&mut self, epoch: i64) {
        self.proved = Some(epoch);
    }

    pub fn drained(&mut self, seal: i64, list: &SessionList) {
        let Some(switch) = self.switch.as_mut().filter(|s| s.seal == seal) else { return };
        match drained(list, &self.route, seal) {
            Drained::Yes => switch.drained = true,
            Drained::TooOld => {}
            Drained::Waiting(who) => self.waiting = who,
        }
    }

    pub fn revision(&mut self, seal: i64, raw: i64) {
        if let Some(switch) = self.switch.as_mut().filter(|s| s.seal == seal && s.drained) {
            switch.raw.get_or_insert(raw);
        }
    }

    /// The standby held, at its revision `since`, exactly what the owner has at `raw`.
    pub fn caught_up(&mut self, seal: i64, raw: i64, since: i64) {
        if let Some(switch) = self.switch.as_mut().filter(|s| s.seal == seal && s.raw == Some(raw)) {
            switch.caught_up = Some(since);
        }
    }

    /// The standby took a test write under this epoch (or did not), and was read after it.
    pub fn probed(&mut self, standby: ShardUid, seal: i64, epoch: i64, took: bool, view: View) {
        self.read(standby, view);
        if let Some(switch) = self.switch.as_mut().filter(|s| s.seal == seal) {
            switch.probed = took && self.held == Some((standby, epoch));
        }
        if !took {
            self.give_up(Abort::TargetUnreachable);
        }
    }

    /// What the former owner has of the route's leases is no more than copies.
    pub fn demoted(&mut self) {
        self.demoted = true;
    }

    /// No record of a lease's copy on the standby names the route any more.
    pub fn released(&mut self) {
        self.released = true;
    }

    pub fn relocated(&mut self) {
        self.relocated = true;
    }

    /// The switch is not to go on, because it takes too long for instance. After the point of decision this says nothing.
    pub fn give_up(&mut self, why: Abort) {
        self.given_up.get_or_insert(why);
    }

    /// The mod revision of the seal that this driver has set and not lifted yet: what `--max-pause` counts from.
    pub fn sealed(&self) -> Option<i64> {
        self.switch.as_ref().map(|s| s.seal)
    }

    /// Takes over what a Txn of ours wrote.
    fn written(&mut self, txn: &Txn, revision: i64) {
        let shard = txn.shard;
        let standby = |fence: &Fence| matches!(fence.state, State::Importing { .. } | State::Standby { .. });
        for (key, write) in &txn.puts {
            match (keys::parse(key), write) {
                (Some(Key::Fence(_)), Write::Fence(fence)) => {
                    if standby(fence) {
                        // Nobody else can hold it: it was made by this very Txn.
                        self.held = Some((shard, revision));
                        let epoch = txn.compares.first().map_or(0, |(_, epoch)| *epoch);
                        if self.purged == Some(Purge { shard, epoch }) {
                            self.cleared = Some(revision);
                        }
                    }
                    match (&fence.state, &mut self.switch) {
                        (State::Sealed { .. }, _) => {
                            self.switch = Some(Switch::new(shard, revision, self.now));
                            self.waiting = Vec::new();
                        }
                        (State::Flipping { .. }, Some(switch)) => switch.decided = true,
                        (State::Open { .. }, Some(switch)) => {
                            switch.opened.get_or_insert(self.now);
                        }
                        _ => {}
                    }
                    self.patch(shard, revision, |view| view.fence = Some((revision, Ok(fence.clone()))));
                }
                (_, Write::Reign(reign)) => {
                    self.patch(shard, revision, |view| view.reign = Some((revision, Ok(reign.clone()))));
                }
                (_, Write::Migration(record)) => {
                    let record = Record::clone(record);
                    self.notes.retain(|note| !record.history.contains(note));
                    if record.phase == Phase::Purge {
                        self.restart = None;
                    }
                    self.patch(shard, revision, |view| view.record = Some((revision, Ok(record))));
                }
                _ => {}
            }
        }
    }

    fn patch(&mut self, shard: ShardUid, revision: i64, change: impl FnOnce(&mut View)) {
        if let Some(Seen::View(view)) = self.slot(shard) {
            view.revision = revision;
            change(view);
        }
    }
}
