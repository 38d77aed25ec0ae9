//! Whether a migration that goes on can be switched or ended now.

use etcd_prism_ownership::migration::{Phase, View};
use etcd_prism_ownership::{ShardUid, State};

use super::gather::{Found, Side};
use super::{Check, Plan};

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// The second shard is to own the route.
    Switch,
    Complete,
    Cancel,
}

/// `from` owns the route as far as is wanted, `to` follows.
pub(crate) fn ready(route: &str, about: About, owner: &Found, other: &Found, target: ShardUid) -> Plan {
    let mut checks = Vec::new();
    for found in [owner, other] {
        let name = format!("shard {}", found.name);
        let outcome = found.side.as_ref().map(|_| "reachable".to_owned()).map_err(Clone::clone);
        checks.push(Check::new(&name, outcome));
    }
    if let (Ok(ours), Ok(theirs)) = (&owner.side, &other.side) {
        checks.push(Check::new("owner", open(owner, &ours.view, other.id)));
        match about {
            About::Switch => {
                checks.push(Check::new("standby", follows(&theirs.view, owner)));
                checks
                    .push(Check::new("record", copied(if other.id == Some(target) { theirs } else { ours })));
                checks.push(Check::new("proxies", followers(route, ours, theirs)));
            }
            About::Complete => checks.push(Check::new(
                "time",
                match owner.id == Some(target) {
                    true => {
                        Ok("the route was switched; afterwards there is no way back but another migration"
                            .to_owned())
                    }
                    false => Err("the route has not been switched: use `cancel`".to_owned()),
                },
            )),
            About::Cancel => checks.push(Check::new(
                "time",
                match owner.id == Some(target) {
                    false => Ok("the route is where it was; what was copied is deleted".to_owned()),
                    true => Err("the route was switched: use `reverse` first, or `complete`".to_owned()),
                },
            )),
        }
    }
    Plan {
        route: route.to_owned(),
        from: owner.name.clone(),
        to: other.name.clone(),
        checks,
        keys: None,
        bytes: None,
        seconds: None,
    }
}

fn state(view: &View) -> Option<&State> {
    view.fence.as_ref().and_then(|(_, fence)| fence.as_ref().ok()).map(|fence| &fence.state)
}

fn open(owner: &Found, view: &View, other: Option<ShardUid>) -> Result<String, String> {
    match state(view) {
        Some(State::Open { peer }) if *peer == other && peer.is_some() => {
            Ok(format!("shard {} owns the route", owner.name))
        }
        Some(other) => {
            Err(format!("the fence on shard {} is {}, not open for this migration", owner.name, other.name()))
        }
        None => Err(format!("shard {} has no fence of the route", owner.name)),
    }
}

fn follows(view: &View, owner: &Found) -> Result<String, String> {
    match state(view) {
        Some(State::Standby { peer }) if Some(*peer) == owner.id => Ok("it follows the owner".to_owned()),
        Some(State::Importing { peer, claim: None }) if *peer == owner.id => {
            Ok("it follows the owner".to_owned())
        }
        Some(other) => Err(format!("its fence is {}", other.name())),
        None => Err("it has no fence of the route".to_owned()),
    }
}

fn copied(side: &Side) -> Result<String, String> {
    match &side.view.record {
        Some((_, Ok(record))) if record.paused => Err("the migration is paused: resume it first".to_owned()),
        Some((_, Ok(record))) if record.phase == Phase::Follow => Ok("everything is copied".to_owned()),
        Some((_, Ok(_))) => Err("not everything is copied yet".to_owned()),
        Some((_, Err(error))) => Err(error.to_string()),
        None => Err("there is no record of a migration".to_owned()),
    }
}

fn followers(route: &str, owner: &Side, standby: &Side) -> Result<String, String> {
    let epoch = standby.view.fence.as_ref().map(|(revision, _)| *revision);
    let follows = |id| {
        let found = standby.sessions.sessions.iter().find(|(other, _)| *other == id);
        matches!(found, Some((_, Ok(session))) if session.acks.get(route).copied() == epoch)
    };
    let missing: Vec<String> = owner
        .sessions
        .sessions
        .iter()
        .filter(|(id, _)| !follows(*id))
        .map(|(id, session)| session.as_ref().map_or_else(|_| id.to_string(), |session| session.name.clone()))
        .collect();
    match missing.is_empty() {
        true => Ok(format!("all {} follow", owner.sessions.sessions.len())),
        false => Err(format!("not following yet: {}", missing.join(", "))),
    }
}
