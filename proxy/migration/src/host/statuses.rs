//! Puts together what is known of a migration.

use std::sync::Arc;

use etcd_prism_ownership::ShardUid;

use super::Host;
use super::picture::{Located, Pictures};
use crate::status::{History, Status, outcomes};

impl Host {
    /// Every migration that is under way or has been, of the routes that the shards know.
    pub async fn list(self: &Arc<Self>) -> Vec<Status> {
        let pictures = self.pictures().await;
        pictures.routes().iter().filter_map(|route| self.status_of(&pictures, route)).collect()
    }

    pub(super) fn status_of(&self, pictures: &Pictures, route: &str) -> Option<Status> {
        let Located { source, target, record } = pictures.last(route)?;
        let live = self.live(route);
        let running = self.running(route).is_some();
        let record = live.as_ref().and_then(|live| live.record.clone()).or(record)?;
        let open = |shard: &ShardUid| {
            pictures.fence(*shard, route).is_some_and(|(_, fence)| {
                use etcd_prism_ownership::State;
                matches!(fence.state, State::Open { .. } | State::Sealed { .. })
            })
        };
        let mut owners = [source, target].into_iter().filter(open);
        let state = |shard| pictures.fence(shard, route).map(|(_, fence)| fence.state.name().to_owned());
        let (last_abort, pauses) = outcomes(&record);
        let holder = match running {
            true => Some(self.me.name.clone()),
            false => pictures.holder(target, route).map(str::to_owned),
        };
        let counts = live.as_ref().and_then(|live| live.counts.clone());
        let waiting = match &live {
            Some(live) => live.waiting.clone(),
            None if record.phase.is_over() => None,
            None => unreached(self, pictures, &[source, target]),
        };
        Some(Status {
            route: route.to_owned(),
            source: self.shards.name(source),
            target: self.shards.name(target),
            owner: owners.next().map(|shard| self.shards.name(shard)),
            phase: record.phase,
            want: record.want,
            paused: record.paused,
            options: record.options.clone(),
            driver: holder,
            step: live
                .as_ref()
                .map(|live| live.step.clone())
                .filter(|step| !step.is_empty() && !record.phase.is_over()),
            waiting,
            counts: counts.unwrap_or_else(|| record.counts.clone()),
            pace: live.map(|live| live.pace).unwrap_or_default(),
            timings: record.timings.clone(),
            fences: [state(source), state(target)],
            last_abort,
            pauses,
        })
    }

    pub(super) fn history_of(&self, pictures: &Pictures, route: &str) -> Option<History> {
        let record = pictures.last(route)?.record?;
        Some(History::of(route, &record, &|shard| self.shards.name(shard)))
    }
}

fn unreached(host: &Host, pictures: &Pictures, shards: &[ShardUid]) -> Option<String> {
    let away = shards.iter().find(|shard| pictures.of(**shard).is_none())?;
    Some(format!("shard {} cannot be read", host.shards.name(*away)))
}
