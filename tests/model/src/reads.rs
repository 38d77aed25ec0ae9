//! Reads: a shard that is deposed, and proxies whose answers, events and headers must not outlive it.
//!
//! One route on one shard; where it goes to does not matter, only when: after the flip whatever the old shard says is stale.
//! Time passes in ticks. A lease never ends earlier than its TTL after the shard has handled its last renewal; that is the
//! assumption about clocks. A proxy that is stopped is one that takes no steps while time passes.

use stateright::{Model, Property};

mod proxy;
mod shard;

pub use proxy::Proxy;
pub use shard::Shard;

/// Rules that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// As designed.
    Sound,
    /// 3: the line ends at the seal's revision.
    EndsAtSeal,
    /// 4: any acknowledgement counts, whichever seal it names.
    AnyAcknowledgement,
    /// 4: sessions are counted before the seal.
    CountedBeforeSeal,
    /// 4: a proxy reads the fence, then registers its session.
    RegisteredAfterReading,
    /// The driver does not wait for acknowledgements.
    NoDrain,
    /// The deadline counts from the arrival of the renewal's answer.
    DeadlineFromArrival,
    /// The deadline is checked when the read is sent, not when the answer arrives.
    CheckedWhenAsked,
    /// 36: only answers are checked, events are passed on.
    OnlyAnswersChecked,
    /// An answer that was asked for before the acknowledgement is passed on after it.
    NoGeneration,
    /// The session key is put without looking at what is there.
    BlindPut,
}

/// The model.
#[derive(Debug, Clone)]
pub struct Reads {
    pub variant: Variant,
    pub proxies: usize,
    /// In ticks.
    pub ttl: u64,
    pub end_of_time: u64,
    /// How many seals the driver may set; all but the last may be given up.
    pub seals: u8,
    /// How many times a proxy may lose its session for no reason, or start anew.
    pub mishaps: u8,
    /// Whether leases are renewed.
    pub renewals: bool,
}

impl Reads {
    /// One proxy that renews its lease.
    pub fn new(variant: Variant) -> Self {
        Self { variant, proxies: 1, ttl: 2, end_of_time: 3, seals: 1, mishaps: 0, renewals: true }
    }

    /// One proxy, and a driver that may give up its first seal.
    pub fn with_second_seal(variant: Variant) -> Self {
        Self { seals: 2, renewals: false, ..Self::new(variant) }
    }

    /// One proxy that may lose its session or start anew.
    pub fn with_mishaps(variant: Variant) -> Self {
        Self { mishaps: 1, end_of_time: 2, renewals: false, ..Self::new(variant) }
    }

    /// Two proxies, one of which reads, in a moment in which no lease ends.
    pub fn with_two(variant: Variant) -> Self {
        Self { proxies: 2, end_of_time: 0, renewals: false, ..Self::new(variant) }
    }
}

/// How far the driver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    Idle,
    /// Only [`Variant::CountedBeforeSeal`]: there was nobody to wait for.
    Counted,
    Sealed(i64),
    Drained(i64),
    /// With the last revision of the reign.
    Flipped(i64),
}

impl Driver {
    /// The last revision of the reign.
    fn end(self) -> Option<i64> {
        match self {
            Self::Flipped(g) => Some(g),
            _ => None,
        }
    }
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub now: u64,
    pub shard: Shard,
    pub proxies: Vec<Proxy>,
    pub driver: Driver,
    pub seals: u8,
    pub mishaps: u8,
    /// The highest revision that was passed on since the seal.
    pub shown: i64,
    /// Something that the shard said after the flip was passed on.
    pub stale: bool,
}

/// One step. The numbers are proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Tick,
    /// The shard ends a lease.
    Expire(i64),
    /// A proxy sends what its session needs next; the shard handles it; the proxy hears of it.
    Send(usize),
    Handle(usize),
    Hear(usize),
    Renew(usize),
    HandleRenewal(usize),
    HearRenewal(usize),
    /// A proxy hears of the fence as it is now.
    Learn(usize),
    /// A read, or a watch (`true`).
    Ask(usize, bool),
    Answer(usize),
    Arrive(usize),
    /// A proxy gives its session up; what it sent may still be handled.
    Lose(usize),
    HandleLate(usize),
    /// A proxy is killed and starts anew.
    Restart(usize),
    Count,
    Seal,
    GiveUp,
    List,
    Flip,
}

impl Model for Reads {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            now: 0,
            shard: Shard::new(self.ttl),
            proxies: (0..self.proxies).map(|id| Proxy::new(id as u128)).collect(),
            driver: Driver::Idle,
            seals: 0,
            mishaps: 0,
            shown: 0,
            stale: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        use Action as A;
        if world.now < self.end_of_time {
            actions.push(A::Tick);
        }
        actions.extend(world.shard.expired(world.now).map(A::Expire));
        for (i, proxy) in world.proxies.iter().enumerate() {
            proxy.actions(i, world.now, self, actions);
            actions.extend([A::Learn(i)]);
            if world.mishaps < self.mishaps {
                actions.extend([A::Lose(i), A::Restart(i)]);
            }
        }
        match world.driver {
            Driver::Idle if self.variant == Variant::CountedBeforeSeal => actions.push(A::Count),
            Driver::Idle | Driver::Counted if world.seals < self.seals => actions.push(A::Seal),
            Driver::Sealed(_) => actions.extend([A::List, A::GiveUp]),
            Driver::Drained(_) => actions.extend([A::Flip, A::GiveUp]),
            _ => {}
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let World { now, shard, proxies, driver, .. } = &mut world;
        match action {
            Action::Tick => *now += 1,
            Action::Expire(lease) => shard.end_lease(lease),
            Action::Send(i) => {
                proxies[i].send(shard, *now, self);
                // What is late is the first proxy's part; the others are there to move revisions and to be waited for.
                while i > 0 && proxies[i].is_busy() {
                    proxies[i].handle(shard, *now, self.variant);
                    proxies[i].hear(shard, *now, self.variant);
                    proxies[i].send(shard, *now, self);
                }
            }
            Action::Handle(i) => proxies[i].handle(shard, *now, self.variant),
            Action::Hear(i) => proxies[i].hear(shard, *now, self.variant),
            Action::Renew(i) => proxies[i].renew(*now),
            Action::HandleRenewal(i) => proxies[i].handle_renewal(shard, *now),
            Action::HearRenewal(i) => proxies[i].hear_renewal(*now, self.variant),
            Action::Learn(i) => proxies[i].learn(&shard.fence_now()),
            Action::Ask(i, event) => proxies[i].ask(*now, event, self.variant),
            Action::Answer(i) => proxies[i].answer(shard, matches!(driver, Driver::Flipped(_))),
            Action::Arrive(i) => {
                if let Some((revision, stale)) = proxies[i].arrive(*now, self.variant) {
                    if shard.is_sealed() {
                        world.shown = world.shown.max(revision);
                    }
                    world.stale |= stale;
                }
            }
            Action::Lose(i) => {
                proxies[i].lose();
                world.mishaps += 1;
            }
            Action::HandleLate(i) => proxies[i].handle_late(shard, *now, self.variant),
            Action::Restart(i) => {
                proxies[i] = Proxy::new(proxies[i].id + 10);
                world.mishaps += 1;
            }
            Action::Count => {
                if shard.drained(i64::MAX, i64::MAX, false) {
                    *driver = Driver::Counted;
                }
            }
            Action::Seal => {
                let seal = shard.write_fence(true);
                *driver =
                    if *driver == Driver::Counted { Driver::Drained(seal) } else { Driver::Sealed(seal) };
                world.seals += 1;
                world.shown = 0;
            }
            Action::List => {
                let Driver::Sealed(seal) = *driver else { return None };
                let any = self.variant == Variant::AnyAcknowledgement;
                if self.variant == Variant::NoDrain || shard.drained(shard.revision, seal, any) {
                    *driver = Driver::Drained(seal);
                }
            }
            Action::GiveUp => {
                shard.write_fence(false);
                *driver = Driver::Idle;
            }
            Action::Flip => {
                let Driver::Drained(seal) = *driver else { return None };
                let naive = self.variant == Variant::EndsAtSeal;
                *driver = Driver::Flipped(if naive { seal } else { shard.revision });
            }
        }
        (world != *last).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STALE, |_, world: &World| !world.stale),
            Property::always(ABOVE, |_, world: &World| world.driver.end().is_none_or(|g| world.shown <= g)),
            Property::sometimes("an answer may be passed on", |_, world: &World| {
                world.proxies.iter().any(|p| p.answer_may_pass(world.now))
            }),
            Property::sometimes(
                "an answer may be passed on under a second lease",
                |model: &Self, world: &World| {
                    model.end_of_time == 0
                        || world
                            .proxies
                            .iter()
                            .any(|p| p.session.lease() > Some(1) && p.answer_may_pass(world.now))
                },
            ),
            Property::sometimes(
                "an answer may be passed on after a seal was given up",
                |_, world: &World| {
                    let given_up = world.seals > 0 && world.driver == Driver::Idle;
                    given_up && world.proxies.iter().any(|p| p.answer_may_pass(world.now))
                },
            ),
            Property::sometimes("the route is flipped while a session stands", |_, world: &World| {
                let stands = world.proxies.iter().any(|p| p.session.may_release(world.now));
                matches!(world.driver, Driver::Flipped(_)) && stands
            }),
            Property::sometimes(
                "the route is flipped after a session has ended",
                |model: &Self, world: &World| {
                    model.end_of_time == 0
                        || matches!(world.driver, Driver::Flipped(_)) && world.shard.has_lost_a_session()
                },
            ),
            Property::sometimes("the last seal leads to a flip", |model: &Self, world: &World| {
                matches!(world.driver, Driver::Flipped(_)) && world.seals == model.seals
            }),
        ]
    }
}

/// Nothing that the deposed shard said is passed on.
pub const STALE: &str = "nothing stale is passed on";
/// Nothing above the end of the reign was shown.
pub const ABOVE: &str = "nothing above the end of the reign is shown";
