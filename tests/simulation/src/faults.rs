//! What goes wrong in a world, and when.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Every host, by name.
pub const HOSTS: [&str; 5] = ["a", "b", "p1", "p2", "clients"];

/// When the last fault ends.
pub const END: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing gets through; all of it arrives at the end, as after TCP has sent it again.
    Hold(&'static str, &'static str),
    /// What is sent is lost, in both directions; connections that lost something hang.
    Cut(&'static str, &'static str),
    /// Each message takes this long.
    Slow(&'static str, &'static str, Duration),
    /// The host's process dies, and starts again at the end.
    Crash(&'static str),
    /// The proxy is told to stop, and starts again at the end.
    Stop(&'static str),
    /// The proxy's clock jumps, at once.
    Jump(&'static str, Duration),
    /// The shard's quota is used up.
    Full(&'static str),
    /// The shard answers plain reads at once, and some of the rest late, by up to so long: transactions (in whichever order),
    /// renewals of leases, news of watches.
    Late(&'static str, Duration),
    /// The shard compacts its history, at once, up to so many revisions before the last.
    Compact(&'static str, i64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub from: Duration,
    pub to: Duration,
    pub fault: Fault,
}

/// How long a message takes from each proxy to each shard, at most: some are further away than others.
pub fn latencies(seed: u64) -> Vec<(&'static str, &'static str, Duration)> {
    let mut random = SmallRng::seed_from_u64(seed ^ 0x1a7e);
    let links = [("p1", "a"), ("p1", "b"), ("p2", "a"), ("p2", "b")];
    let mut most =
        |_| if random.random_bool(0.6) { random.random_range(2..15) } else { random.random_range(15..150) };
    links.map(|(a, b)| (a, b, Duration::from_millis(most(())))).to_vec()
}

/// The faults of a seed, by their beginning.
pub fn plan(seed: u64) -> Vec<Planned> {
    let mut random = SmallRng::seed_from_u64(seed ^ 0xfa17);
    // Some worlds are whole: what happens there is the operator's doing.
    let count = if random.random_bool(0.15) { 0 } else { random.random_range(1..=10) };
    let mut out: Vec<Planned> = (0..count).map(|_| one(&mut random)).collect();
    out.sort_by_key(|planned| planned.from);
    out
}

fn one(random: &mut SmallRng) -> Planned {
    let from = Duration::from_millis(random.random_range(3_000..35_000));
    let long = if random.random_bool(0.7) { 3_000 } else { 15_000 };
    let to = (from + Duration::from_millis(random.random_range(50..long))).min(END);
    let proxy = ["p1", "p2"].choose(random).copied().unwrap_or("p1");
    let shard = ["a", "b"].choose(random).copied().unwrap_or("a");
    let (left, right) = match random.random_range(0..6) {
        0 => ("clients", proxy),
        _ => (proxy, shard),
    };
    let fault = match random.random_range(0..100) {
        0..17 => Fault::Hold(left, right),
        17..32 => Fault::Cut(left, right),
        32..42 => late(shard, random),
        42..50 => Fault::Slow(left, right, Duration::from_millis(random.random_range(20..400))),
        50..64 => Fault::Crash(proxy),
        64..74 => Fault::Crash(shard),
        74..80 => Fault::Stop(proxy),
        80..86 => Fault::Jump(proxy, Duration::from_millis(random.random_range(100..12_000))),
        86..91 => Fault::Full(shard),
        _ => Fault::Compact(shard, random.random_range(0..20)),
    };
    Planned { from, to, fault }
}

fn late(shard: &'static str, random: &mut SmallRng) -> Fault {
    let most = if random.random_bool(0.5) { 800 } else { 12_000 };
    Fault::Late(shard, Duration::from_millis(random.random_range(20..most)))
}
