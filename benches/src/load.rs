//! The load generator.

mod idle;
mod list;
mod pace;
mod population;
mod script;
mod tally;
mod team;
mod unary;
mod watch;
mod window;

use std::net::SocketAddr;
use std::time::Duration;

pub(crate) use crate::load::population::{fill, populate};
pub(crate) use crate::load::team::Team;

use crate::error::BenchError;
use crate::works::Work;

/// What to do to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) work: Work,
    pub(crate) clients: usize,
    pub(crate) address: SocketAddr,
    pub(crate) threads: usize,
    /// Between two requests of one client; `None`: as soon as the last one is answered.
    pub(crate) interval: Option<Duration>,
    /// Differs between all orders on one etcd: created keys are new.
    pub(crate) serial: u32,
}

/// Starts the load; it runs until the team is told to stop.
pub(crate) async fn start(order: Order) -> Result<Team, BenchError> {
    match order.work {
        Work::Unary { call, value } => Team::start(order.threads, unary::Load::new(order, call, value)),
        Work::List { .. } => Team::start(order.threads, list::Load::new(order)),
        Work::Watch { value } => Team::start(order.threads, watch::Load::new(order, value).await?),
        Work::Watchers { per_stream } => Team::start(order.threads, idle::Load::new(order, per_stream)),
    }
}
