//! A proxy: the shipped engines, and what it has under way.

use etcd_prism_ownership::route::Observation;
use etcd_prism_ownership::session::{Acks, Step, Turn, may_release};
use etcd_prism_ownership::{RouteEngine, Session};
use etcd_prism_routing::ShardId;

use super::shard::{DEFINITION, ROUTE, SHARD, Shard};
use super::{Action, Reads, Variant};

const AT: ShardId = ShardId(0);

/// Something under way: sent, or handled and on its way back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Under<Request, Reply> {
    Way(Request),
    Back(Reply),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Request {
    Grant { sent: u64 },
    Put { lease: i64, mod_revision: i64, acks: Acks },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reply {
    Granted { lease: i64, sent: u64, ttl: u64 },
    Written { lease: i64, mod_revision: i64, acks: Acks },
    Refused { found: i64 },
    LeaseGone,
    Fences(Turn, Observation),
}

/// The lease, and when the request was sent.
type Renewal = (i64, u64);

/// The same, and the TTL.
type Renewed = (i64, u64, u64);

/// A read or an event, asked for under a generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    generation: u64,
    /// Whether the session stood then.
    stood: bool,
    event: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Answered {
    asked: Asked,
    revision: i64,
    /// The shard was deposed.
    stale: bool,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    pub id: u128,
    pub route: RouteEngine,
    pub session: Session,
    step: Option<Under<Request, Reply>>,
    /// Sent for a session that was given up, and not handled yet.
    late: Option<Request>,
    renewal: Option<Under<Renewal, Renewed>>,
    read: Option<Under<Asked, Answered>>,
}

impl Proxy {
    pub(super) fn new(id: u128) -> Self {
        let mut route = RouteEngine::new(ROUTE, DEFINITION, &[String::new()]);
        route.identify(AT, SHARD);
        Self { id, route, session: Session::new(0), step: None, late: None, renewal: None, read: None }
    }

    /// What this proxy, number `i`, may do.
    pub(super) fn actions(&self, i: usize, now: u64, model: &Reads, out: &mut Vec<Action>) {
        match &self.step {
            None => out.push(Action::Send(i)),
            Some(Under::Way(_)) => out.push(Action::Handle(i)),
            Some(Under::Back(_)) => out.push(Action::Hear(i)),
        }
        match &self.renewal {
            // A renewal in the tick of the last one changes nothing.
            None if model.renewals && self.session.renewal().is_some_and(|(_, from)| from < now) => {
                out.push(Action::Renew(i));
            }
            None => {}
            Some(Under::Way(_)) => out.push(Action::HandleRenewal(i)),
            Some(Under::Back(_)) => out.push(Action::HearRenewal(i)),
        }
        match &self.read {
            // All proxies are alike, so one of them reading is enough.
            None if i == 0 && self.route.permit().is_some() => {
                out.push(Action::Ask(i, false));
                // Where answers and events are treated alike, one kind is enough.
                if model.variant == Variant::OnlyAnswersChecked {
                    out.push(Action::Ask(i, true));
                }
            }
            None => {}
            Some(Under::Way(_)) => out.push(Action::Answer(i)),
            Some(Under::Back(_)) => out.push(Action::Arrive(i)),
        }
        if self.late.is_some() {
            out.push(Action::HandleLate(i));
        }
    }

    pub(super) fn send(&mut self, shard: &mut Shard, now: u64, model: &Reads) {
        let request = match self.session.step() {
            Step::Grant => Request::Grant { sent: now },
            Step::Put { lease, mod_revision, acks } => {
                let put = Request::Put { lease, mod_revision, acks };
                // Unless it may be left behind, it may as well be sent when it is handled.
                if model.mishaps == 0 {
                    self.step = Some(Under::Back(serve(self.id, put, shard, now, model.variant)));
                    return;
                }
                put
            }
            // It has read them already.
            Step::ReadFences(turn) if model.variant == Variant::RegisteredAfterReading => {
                self.session.fences_read(turn);
                return self.session.checked(turn);
            }
            // It may as well be sent when it is answered.
            Step::ReadFences(turn) => {
                self.step = Some(Under::Back(Reply::Fences(turn, shard.fence_now())));
                return;
            }
            Step::Check(turn) => return self.session.checked(turn),
            Step::Settled => return,
        };
        self.step = Some(Under::Way(request));
    }

    pub(super) fn is_busy(&self) -> bool {
        self.step.is_some()
    }

    pub(super) fn handle(&mut self, shard: &mut Shard, now: u64, variant: Variant) {
        self.step = self.step.take().map(|step| match step {
            Under::Way(request) => Under::Back(serve(self.id, request, shard, now, variant)),
            back @ Under::Back(_) => back,
        });
    }

    pub(super) fn handle_late(&mut self, shard: &mut Shard, now: u64, variant: Variant) {
        if let Some(request) = self.late.take() {
            serve(self.id, request, shard, now, variant);
        }
    }

    pub(super) fn hear(&mut self, shard: &Shard, now: u64, variant: Variant) {
        let Some(Under::Back(reply)) = self.step.take() else { return };
        match reply {
            Reply::Granted { lease, sent, ttl } => {
                let sent = if variant == Variant::DeadlineFromArrival { now } else { sent };
                self.session.granted(lease, sent, ttl);
                if variant == Variant::RegisteredAfterReading {
                    self.learn(&shard.fence_now());
                }
            }
            Reply::Written { lease, mod_revision, acks } => self.session.written(lease, mod_revision, acks),
            Reply::Refused { found } => self.session.refused(found),
            Reply::LeaseGone => self.session.lost(),
            Reply::Fences(turn, fence) => {
                self.learn(&fence);
                self.session.fences_read(turn);
                // Identities do not change in this world.
                self.session.checked(turn);
            }
        }
    }

    pub(super) fn renew(&mut self, now: u64) {
        self.renewal = self.session.renewal().map(|(lease, _)| Under::Way((lease, now)));
    }

    pub(super) fn handle_renewal(&mut self, shard: &mut Shard, now: u64) {
        if let Some(Under::Way((lease, sent))) = self.renewal {
            self.renewal = Some(Under::Back((lease, sent, shard.renew(lease, now))));
        }
    }

    pub(super) fn hear_renewal(&mut self, now: u64, variant: Variant) {
        if let Some(Under::Back((lease, sent, ttl))) = self.renewal.take() {
            let sent = if variant == Variant::DeadlineFromArrival { now } else { sent };
            self.session.renewed(lease, sent, ttl);
        }
    }

    pub(super) fn learn(&mut self, fence: &Observation) {
        self.route.observe(AT, fence.clone());
        if let Some(seal) = self.route.seal(AT) {
            self.session.acknowledge(&seal);
        }
    }

    pub(super) fn lose(&mut self) {
        self.session.lost();
        self.renewal = None;
        match self.step.take() {
            Some(Under::Way(request)) => self.late = Some(request),
            Some(Under::Back(_)) | None => {}
        }
    }

    pub(super) fn ask(&mut self, now: u64, event: bool, variant: Variant) {
        let generation = self.route.generation();
        let stood = variant == Variant::CheckedWhenAsked && self.session.may_release(now);
        self.read = Some(Under::Way(Asked { generation, stood, event }));
    }

    pub(super) fn answer(&mut self, shard: &Shard, stale: bool) {
        if let Some(Under::Way(asked)) = self.read.take() {
            // Before the seal it is not looked at.
            let revision = if shard.is_sealed() { shard.revision } else { 0 };
            self.read = Some(Under::Back(Answered { asked, revision, stale }));
        }
    }

    /// The revision of what is passed on and whether it is stale; `None` if it is dropped.
    pub(super) fn arrive(&mut self, now: u64, variant: Variant) -> Option<(i64, bool)> {
        let Some(Under::Back(Answered { asked, revision, stale })) = self.read.take() else { return None };
        let pass = match variant {
            Variant::CheckedWhenAsked => asked.stood && self.route.generation() == asked.generation,
            Variant::OnlyAnswersChecked if asked.event => true,
            Variant::NoGeneration => self.session.may_release(now),
            _ => may_release(&self.session, &self.route, asked.generation, now),
        };
        pass.then_some((revision, stale))
    }

    pub(super) fn answer_may_pass(&self, now: u64) -> bool {
        matches!(&self.read, Some(Under::Back(answered))
            if may_release(&self.session, &self.route, answered.asked.generation, now))
    }
}

fn serve(id: u128, request: Request, shard: &mut Shard, now: u64, variant: Variant) -> Reply {
    match request {
        Request::Grant { sent } => Reply::Granted { lease: shard.grant(now), sent, ttl: shard.ttl() },
        Request::Put { lease, mod_revision, acks } => {
            let expected = (variant != Variant::BlindPut).then_some(mod_revision);
            match shard.put(id, lease, expected, acks.clone()) {
                Some(Ok(mod_revision)) => Reply::Written { lease, mod_revision, acks },
                Some(Err(found)) => Reply::Refused { found },
                None => Reply::LeaseGone,
            }
        }
    }
}
