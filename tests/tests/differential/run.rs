//! One trace against two servers.

use std::collections::VecDeque;

use etcd_prism_proto::etcdserverpb::{
    LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest,
};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::request::{delete, get, list_all, put};
use etcd_prism_tests::wait;
use rand::Rng;
use tokio::join;
use tonic::{Code, Status};

use crate::call::{Call, Reply, brief, shortened};
use crate::compare;
use crate::coverage::Coverage;
use crate::fault::Fault;
use crate::generate::Generator;
use crate::required::Required;
use crate::state::State;
use crate::touch::{routes_of, spans};
use crate::translate::for_subject;

/// What is compared with what, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) reference: Client,
    pub(crate) subject: Client,
    pub(crate) layout: Layout,
    pub(crate) seed: u64,
    pub(crate) operations: u64,
    /// Whether both sides are of the newest minor, with RangeStream.
    pub(crate) newest: bool,
    /// What must be hit; the trace goes on for a while until it is.
    pub(crate) required: Required,
    /// Breaks the subject's replies.
    pub(crate) fault: Option<Fault>,
}

/// A running trace.
pub(crate) struct Run {
    pub(crate) setup: Setup,
    pub(crate) state: State,
    pub(crate) generator: Generator,
    pub(crate) coverage: Coverage,
    /// Calls made.
    pub(crate) operations: u64,
    // The last calls, for the report of a difference.
    recent: VecDeque<String>,
    /// The reference's revisions at which compact_rev_key was written and no compaction was asked for yet.
    pub(crate) marks: VecDeque<i64>,
}

/// Both sides' replies to one call, which agree.
type Replies = [Result<Reply, Status>; 2];

impl Run {
    /// Runs the trace; the error says where the two sides differ first.
    pub(crate) async fn trace(setup: Setup) -> Result<Coverage, String> {
        empty(&setup.reference).await;
        empty(&setup.subject).await;
        let state = State::new(setup.layout.clone());
        let generator = Generator::new(setup.seed, &state, setup.newest);
        let (coverage, recent, marks) = (Coverage::default(), VecDeque::new(), VecDeque::new());
        let mut run = Self { setup, state, generator, coverage, operations: 0, recent, marks };
        match run.steps().await {
            Ok(()) => Ok(run.coverage),
            Err(error) => {
                let (seed, recent) = (run.setup.seed, Vec::from(run.recent).join("\n  "));
                Err(format!(
                    "seed {seed}, operation {}: {error}\nthe calls before it:\n  {recent}",
                    run.operations
                ))
            }
        }
    }

    async fn steps(&mut self) -> Result<(), String> {
        const PATIENCE: u64 = 3;
        while self.operations < self.setup.operations || self.lacks_something(PATIENCE) {
            self.step().await?;
        }
        self.compact_everything().await
    }

    /// Whether something required was not hit yet and may still be, within `patience` times the length asked for.
    fn lacks_something(&self, patience: u64) -> bool {
        let too_long = self.operations > patience * self.setup.operations;
        !too_long && !self.coverage.missing(&self.setup.required).is_empty()
    }

    async fn step(&mut self) -> Result<(), String> {
        match self.generator.rng.random_range(0..10_000) {
            0..120 => self.episode().await,
            120..150 => self.mark().await,
            150..175 => self.compact().await,
            175..179 => self.expire().await,
            179..500 => {
                let call = self.generator.refused(&self.state);
                self.exchange(&call).await.map(drop)
            }
            500..700 => self.refused_spanning().await,
            _ => self.random_call().await,
        }
    }

    /// A random valid call.
    pub(crate) async fn random_call(&mut self) -> Result<(), String> {
        let call = self.generator.call(&self.state);
        self.exchange(&call).await.map(drop)
    }

    /// Makes `call` on both sides and compares the replies.
    pub(crate) async fn exchange(&mut self, call: &Call) -> Result<Replies, String> {
        const KEPT: usize = 12;
        self.operations += 1;
        let translated = for_subject(&self.state, call);
        self.recent.push_back(brief(call));
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
        let (reference, mut subject) =
            join!(call.clone().send(&self.setup.reference), translated.send(&self.setup.subject));
        if let Some(fault) = self.setup.fault
            && fault.break_reply(&mut subject)
            && !fault.lasts()
        {
            self.setup.fault = None;
        }
        self.coverage.count(&self.state, call, &reference);
        self.learn(call, &reference);
        compare::replies(&mut self.state, call, &reference, &subject)
            .map_err(|error| format!("{error}\nin {}", shortened(call, 6_000)))?;
        Ok([reference, subject])
    }

    /// As [`exchange`](Self::exchange), for a call that must not be refused.
    pub(crate) async fn succeed(&mut self, call: &Call) -> Result<[Reply; 2], String> {
        match self.exchange(call).await? {
            [Ok(reference), Ok(subject)] => Ok([reference, subject]),
            [reference, _] => Err(format!("{} is refused: {}", brief(call), brief(&reference))),
        }
    }

    fn learn(&mut self, call: &Call, reply: &Result<Reply, Status>) {
        match (call, reply) {
            (_, Ok(Reply::Grant(granted))) => self.generator.leases.push(granted.id),
            (Call::Revoke(revoked), Ok(_)) => self.generator.leases.retain(|id| *id != revoked.id),
            _ => {}
        }
    }

    /// Keys of several routes under one lease that runs out.
    pub(crate) async fn expire(&mut self) -> Result<(), String> {
        const SHORT_TTL: std::ops::Range<i64> = -2..3;
        self.coverage.option("lease expiry");
        let id = self.generator.free_lease();
        let ttl = self.generator.rng.random_range(SHORT_TTL);
        self.succeed(&Call::Grant(LeaseGrantRequest { id, ttl })).await?;
        self.generator.leases.retain(|lease| *lease != id);
        let mut keys = Vec::new();
        for _ in 0..self.generator.rng.random_range(1..5) {
            let route = self.generator.keys.route(&mut self.generator.rng);
            let key = self.generator.keys.key(&mut self.generator.rng, route);
            keys.push(key.clone());
            self.succeed(&Call::Put(PutRequest { lease: id, ..put(&key, "short") })).await?;
        }
        for client in [&self.setup.reference, &self.setup.subject] {
            wait::until("the lease to expire", async || {
                let request = LeaseTimeToLiveRequest { id, keys: true };
                match Call::TimeToLive(request).send(client).await {
                    Ok(Reply::TimeToLive(reply)) if reply.ttl == -1 => Ok(()),
                    reply => Err(reply),
                }
            })
            .await;
            // The shards of the subject expire it one by one.
            for key in &keys {
                wait::until("the lease's keys to go", async || {
                    match Call::Range(get(key)).send(client).await {
                        Ok(Reply::Range(reply)) if reply.kvs.is_empty() => Ok(()),
                        reply => Err(reply),
                    }
                })
                .await;
            }
        }
        self.succeed(&Call::TimeToLive(LeaseTimeToLiveRequest { id, keys: true })).await?;
        for key in keys {
            self.succeed(&Call::Range(get(&key))).await?;
        }
        Ok(())
    }

    /// What only a proxy over several shards refuses. The reference is not asked: it would do it.
    async fn refused_spanning(&mut self) -> Result<(), String> {
        let Some((name, call)) = self.generator.refused_spanning(&self.state) else { return Ok(()) };
        if !spans(&self.state.layout, &call) {
            return Ok(());
        }
        self.operations += 1;
        self.coverage.option(format!("refused: {name}"));
        let status = match call.clone().send(&self.setup.subject).await {
            Ok(reply) => {
                return Err(format!("{} spans shards and is answered with {}", brief(&call), brief(&reply)));
            }
            Err(status) => status,
        };
        if status.code() != Code::InvalidArgument {
            return Err(format!("{} spans shards and is refused with {status:?}", brief(&call)));
        }
        // The text names the routes, so that whoever sent it knows what to separate.
        let routes = routes_of(&self.state.layout, &call);
        match routes.iter().find(|route| !status.message().contains(**route)) {
            Some(route) => {
                Err(format!("{}: the refusal does not name route {route}: {status:?}", brief(&call)))
            }
            None => Ok(()),
        }
    }
}

/// Removes every key and lease, so that both sides begin alike.
async fn empty(client: &Client) {
    let all =
        client.kv().range(RangeRequest { keys_only: true, ..list_all() }).await.expect("a list of all keys");
    for kv in all.into_inner().kvs {
        client.kv().delete_range(delete(&kv.key)).await.expect("a deletion");
    }
    let leases = client.lease().lease_leases(LeaseLeasesRequest {}).await.expect("a list of leases");
    for lease in leases.into_inner().leases {
        client.lease().lease_revoke(LeaseRevokeRequest { id: lease.id }).await.expect("a revocation");
    }
}
