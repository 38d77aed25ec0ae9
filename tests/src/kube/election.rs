//! Two candidates for the leadership that a Lease object stands for, in the way of client-go.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::api::{Api, ApiError};
use super::objects::{self, Kind};

/// For so long a leader that does not renew is left in peace: client-go's default.
const TERM: Duration = Duration::from_secs(15);
/// Between two attempts; client-go's default is 2 s.
const RETRY: Duration = Duration::from_millis(500);

/// What became of the leadership.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub renewals: u64,
    /// Who led, one after the other.
    pub leaders: Vec<String>,
    /// Renewals, and looks of the one that waits, that failed.
    pub failures: Vec<String>,
}

/// The candidates at work. They end when it is dropped.
#[derive(Debug)]
pub struct Election {
    told: Arc<Mutex<Told>>,
    candidates: [JoinHandle<()>; 2],
}

impl Election {
    /// Makes the Lease `name` with the first candidate as its leader, and lets both go on.
    pub async fn start(api: &Api, name: &str) -> Result<Self, ApiError> {
        let leader = format!("{name}-1");
        let mut lease = Kind::Lease.object(name);
        take(&mut lease, &leader);
        let lease = api.create(&Kind::Lease.collection(), &lease).await?;
        let told = Arc::new(Mutex::new(Told { leaders: vec![leader.clone()], ..Told::default() }));
        let candidate = |me: String| {
            let seen = (objects::resource_version(&lease), Instant::now());
            let candidate =
                Candidate { api: api.clone(), path: Kind::Lease.path(name), me, seen, told: told.clone() };
            tokio::spawn(candidate.run())
        };
        let candidates = [candidate(leader), candidate(format!("{name}-2"))];
        Ok(Self { told, candidates })
    }

    /// What happened so far.
    pub fn told(&self) -> Told {
        self.told.lock().clone()
    }

    /// Panics where the first leader is no leader any more, or could not renew in time once.
    pub fn assert_kept(&self) {
        let told = self.told();
        assert_eq!(told.leaders.len(), 1, "leadership changed: {told:?}");
        assert!(told.failures.is_empty(), "{told:?}");
        assert!(told.renewals > 0, "nothing was renewed");
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.candidates.iter().for_each(JoinHandle::abort);
    }
}

struct Candidate {
    api: Api,
    path: String,
    me: String,
    /// The resource version of the Lease, and when it was first seen.
    seen: (u64, Instant),
    told: Arc<Mutex<Told>>,
}

impl Candidate {
    async fn run(mut self) {
        loop {
            sleep(RETRY).await;
            if let Err(error) = self.attempt().await {
                self.told.lock().failures.push(format!("{}: {error}", self.me));
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), ApiError> {
        let mut lease = self.api.get(&self.path).await?;
        let version = objects::resource_version(&lease);
        if version != self.seen.0 {
            self.seen = (version, Instant::now());
        }
        let mine = lease["spec"]["holderIdentity"] == self.me.as_str();
        if !mine && self.seen.1.elapsed() < TERM {
            return Ok(());
        }
        take(&mut lease, &self.me);
        self.api.replace(&self.path, &lease).await?;
        let mut told = self.told.lock();
        if mine {
            told.renewals += 1;
        } else {
            told.leaders.push(self.me.clone());
        }
        Ok(())
    }
}

fn take(lease: &mut Value, me: &str) {
    lease["spec"]["holderIdentity"] = json!(me);
    lease["spec"]["leaseDurationSeconds"] = json!(TERM.as_secs());
    lease["spec"]["renewTime"] = json!(humantime::format_rfc3339_micros(SystemTime::now()).to_string());
}
