//! What the facts of a plan mean.

use etcd_prism_ownership::State;
use etcd_prism_ownership::migration::{Record, Throttle};
use etcd_prism_ownership::value::MIGRATES;

use super::gather::{Found, Limits, OPS, Side, Size};
use super::{Check, Plan};
use crate::report::{bytes, span};

/// Keys and bytes that a copy brings per second, about.
const KEYS_PER_SECOND: u64 = 5_000;
const BYTES_PER_SECOND: u64 = 20 << 20;
/// What etcd keeps beside a key and its value, with what is kept of the key's provenance, in bytes.
const PER_KEY: u64 = 300;

/// Everything that a plan is made of.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) route: String,
    /// It owns what no other route does.
    pub(crate) default: bool,
    pub(crate) fences: bool,
    pub(crate) no_copy: bool,
    pub(crate) source: Found,
    pub(crate) target: Found,
    /// Of the route on the source.
    pub(crate) size: Result<Size, String>,
    /// A key of the route on the target.
    pub(crate) found: Result<Option<Vec<u8>>, String>,
    pub(crate) limits: Option<Limits>,
    pub(crate) throttle: Throttle,
}

pub(crate) fn judge(facts: &Facts) -> Plan {
    let size = facts.size.as_ref().ok().copied();
    let mut checks = vec![Check::new("fences", fences(facts)), Check::new("route", kind(facts))];
    for found in [&facts.source, &facts.target] {
        checks.push(reachable(found));
    }
    if let (Ok(source), Ok(target)) = (&facts.source.side, &facts.target.side) {
        checks.push(Check::new("owner", owner(facts, source)));
        checks.push(Check::new("target", vacant(facts, target)));
        checks.push(Check::new("proxies", proxies(source, target)));
        checks.push(space(facts, target));
    }
    checks.extend(facts.limits.iter().flat_map(limits));
    let seconds = size.filter(|_| !facts.no_copy).map(|size| duration(size, &facts.throttle));
    checks.push(match (&facts.size, seconds) {
        (Err(error), _) => Check::warning("size", format!("the keys could not be counted: {error}")),
        (Ok(size), None) => Check::new("size", Ok(format!("{} keys; nothing is copied", size.keys))),
        (Ok(size), Some(seconds)) => {
            let (keys, bytes, span) = (size.keys, bytes(size.bytes), span(seconds));
            Check::new("size", Ok(format!("{keys} keys, about {bytes}; the copy takes about {span}")))
        }
    });
    Plan {
        route: facts.route.clone(),
        from: facts.source.name.clone(),
        to: facts.target.name.clone(),
        checks,
        keys: size.map(|size| size.keys),
        bytes: size.map(|size| size.bytes),
        seconds,
    }
}

fn fences(facts: &Facts) -> Result<String, String> {
    match facts.fences {
        true => Ok("writes are fenced".to_owned()),
        false => {
            Err("fences are switched off (ownership.fences): nothing would keep writes of other proxies out"
                .to_owned())
        }
    }
}

fn kind(facts: &Facts) -> Result<String, String> {
    let route = &facts.route;
    if facts.source.name == facts.target.name {
        return Err(format!("route {route} lives on shard {} already", facts.target.name));
    }
    match facts.default {
        false => Ok(format!("route {route} has prefixes of its own")),
        true => Err(format!(
            "route {route} is the default route: it owns compact_rev_key, by whose revisions API servers compact; this \
             version does not move it. Give what is to be moved a route of its own"
        )),
    }
}

fn reachable(found: &Found) -> Check {
    let name = format!("shard {}", found.name);
    let side = match &found.side {
        Err(error) => return Check::new(&name, Err(error.clone())),
        Ok(side) => side,
    };
    if found.id.is_none() {
        let text = "it is not identified yet: see `etcd-prism status`";
        return Check::new(&name, Err(text.to_owned()));
    }
    match side.errors.first() {
        Some(error) => Check::new(&name, Err(format!("it says: {}", error.trim()))),
        None => Check::new(&name, Ok("reachable and identified".to_owned())),
    }
}

fn owner(facts: &Facts, source: &Side) -> Result<String, String> {
    let (route, name) = (&facts.route, &facts.source.name);
    let (_, fence) =
        source.view.fence.as_ref().ok_or_else(|| format!("shard {name} has no fence of route {route}"))?;
    let fence = fence.as_ref().map_err(ToString::to_string)?;
    match &fence.state {
        State::Open { peer: None } => Ok(format!("shard {name} owns the route, reign {}", fence.n)),
        State::Open { peer: Some(peer) } if Some(*peer) == facts.target.id => Ok(format!(
            "shard {name} owns the route and names the target already: an earlier attempt goes on"
        )),
        State::Open { peer: Some(_) } => {
            Err(format!("route {route} is being moved to another shard: finish or cancel that first"))
        }
        other => Err(format!("the route's fence on shard {name} is {}, not open", other.name())),
    }
}

fn vacant(facts: &Facts, target: &Side) -> Result<String, String> {
    let name = &facts.target.name;
    let resumable = matches!(&target.view.record, Some((_, Ok(record))) if goes_on(facts, record));
    match &target.view.fence {
        Some((_, Err(error))) => return Err(error.to_string()),
        Some((_, Ok(fence))) if fence.state.is_open() => {
            return Err(format!("the route's fence on shard {name} is open: see `etcd-prism fence`"));
        }
        _ => {}
    }
    match &facts.found {
        Err(error) => Err(format!("shard {name}: {error}")),
        Ok(None) => Ok(format!("shard {name} holds no key of the route")),
        Ok(Some(_)) if resumable => Ok(format!("shard {name} holds what an earlier attempt has copied")),
        Ok(Some(key)) => Err(format!(
            "shard {name} holds keys of the route that nobody is known to have copied, such as {}: delete them there, \
             past the proxy, if they are not needed",
            key.escape_ascii()
        )),
    }
}

/// Whether what the target holds was copied from the source for a migration that goes on.
fn goes_on(facts: &Facts, record: &Record) -> bool {
    !record.phase.is_over()
        && Some(record.source) == facts.source.id
        && Some(record.target) == facts.target.id
}

fn proxies(source: &Side, target: &Side) -> Result<String, String> {
    let mut count = 0;
    for side in [source, target] {
        for (id, session) in &side.sessions.sessions {
            let session = session.as_ref().map_err(|e| format!("proxy {id}: {e}"))?;
            if session.protocol < MIGRATES {
                return Err(format!(
                    "proxy {} is of a version that cannot follow a moved route: upgrade it first",
                    session.name
                ));
            }
        }
    }
    for (id, session) in &source.sessions.sessions {
        count += 1;
        if !target.sessions.sessions.iter().any(|(other, _)| other == id) {
            let name = session.as_ref().map_or_else(|_| id.to_string(), |session| session.name.clone());
            return Err(format!("proxy {name} has no session at the target: can it reach that shard?"));
        }
    }
    Ok(format!("{count} with a session at both shards, all of a version that migrates"))
}

fn space(facts: &Facts, target: &Side) -> Check {
    let (Ok(size), space) = (&facts.size, target.space) else {
        return Check::warning("space", "not known, because the keys could not be counted".to_owned());
    };
    if facts.no_copy {
        return Check::new("space", Ok("nothing is copied".to_owned()));
    }
    let needed = size.bytes.saturating_add(size.keys.saturating_mul(PER_KEY));
    let in_use = u64::try_from(space.in_use).unwrap_or(0);
    let quota = match u64::try_from(space.quota) {
        Ok(quota) if quota > 0 => quota,
        _ => {
            let text = format!(
                "about {} are needed, {} are in use; the target does not tell its quota (etcd 3.5; 2 GiB unless \
                 --quota-backend-bytes says otherwise)",
                bytes(needed),
                bytes(in_use)
            );
            return Check::warning("space", text);
        }
    };
    let after = in_use.saturating_add(needed);
    let text =
        format!("about {} are needed, {} of {} are in use", bytes(needed), bytes(in_use), bytes(quota));
    match after {
        _ if after > quota => Check::new("space", Err(format!("{text}: raise the target's quota"))),
        _ if after > quota / 10 * 8 => Check::warning("space", format!("{text}: little is left")),
        _ => Check::new("space", Ok(text)),
    }
}

fn limits(limits: &Limits) -> [Check; 2] {
    let ops = match &limits.ops {
        Ok(()) => Check::new("operations", Ok(format!("the target takes {OPS} in a Txn"))),
        Err(error) => Check::new(
            "operations",
            Err(format!(
                "the target does not take {OPS} in a Txn ({error}): start it with --max-txn-ops=140 or more"
            )),
        ),
    };
    let request = match &limits.request {
        Ok(()) => Check::new("request size", Ok("the target takes the largest values".to_owned())),
        Err(error) => Check::warning(
            "request size",
            format!(
                "the target does not take a value of 1.5 MiB with what is kept beside it ({error}): if the route has such \
                 values, start it with a larger --max-request-bytes"
            ),
        ),
    };
    [ops, request]
}

/// In seconds.
fn duration(size: Size, throttle: &Throttle) -> u64 {
    let bound = |own: u64, set: u64| if set == 0 { own } else { own.min(set) };
    let keys = size.keys / bound(KEYS_PER_SECOND, throttle.keys_per_second).max(1);
    let bytes = size.bytes / bound(BYTES_PER_SECOND, throttle.bytes_per_second).max(1);
    keys.max(bytes).max(1)
}
