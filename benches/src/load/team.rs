//! The threads of the load generator: each has a runtime of its own and its share of the clients.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::error::BenchError;
use crate::load::tally::Tally;
use crate::load::window::Window;

const READY_LIMIT: Duration = Duration::from_secs(120);

/// What a thread does. Its future stays on that thread.
pub(crate) trait Task: Send + Sync + 'static {
    /// Makes everything ready, says so, and works until the window is closed.
    fn run(&self, seat: Seat) -> impl Future<Output = Result<Tally, BenchError>>;
}

/// A thread's place in its team.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) thread: usize,
    pub(crate) threads: usize,
    pub(crate) window: Arc<Window>,
    ready: Option<oneshot::Sender<()>>,
}

/// A running load. Stops when dropped.
#[derive(Debug)]
pub(crate) struct Team {
    window: Arc<Window>,
    ready: Vec<oneshot::Receiver<()>>,
    results: Vec<oneshot::Receiver<Result<Tally, BenchError>>>,
}

// === impl Seat ===

impl Seat {
    pub(crate) fn ready(&mut self) {
        if let Some(ready) = self.ready.take() {
            // Nobody waits any more when the run was stopped.
            ready.send(()).ok();
        }
    }

    /// Of `count` things that are numbered from 0, those that are this thread's.
    pub(crate) fn share(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        (self.thread..count).step_by(self.threads)
    }
}

// === impl Team ===

impl Team {
    pub(crate) fn start<T: Task>(threads: usize, task: T) -> Result<Self, BenchError> {
        let task = Arc::new(task);
        let mut team = Self { window: Arc::default(), ready: Vec::new(), results: Vec::new() };
        for thread in 0..threads {
            let (ready, is_ready) = oneshot::channel();
            let (result, has_result) = oneshot::channel();
            let seat = Seat { thread, threads, window: team.window.clone(), ready: Some(ready) };
            let task = task.clone();
            let run = move || {
                // A team that is gone wants no result.
                result.send(run_here(&*task, seat)).ok();
            };
            let spawned = thread::Builder::new().name(format!("load-{thread}")).spawn(run);
            spawned.map_err(|cause| BenchError::io("start a thread", cause))?;
            team.ready.push(is_ready);
            team.results.push(has_result);
        }
        Ok(team)
    }

    /// Waits until every thread is ready.
    pub(crate) async fn ready(&mut self) -> Result<(), BenchError> {
        let all = try_join_all(self.ready.drain(..));
        match timeout(READY_LIMIT, all).await {
            Ok(Ok(_)) => Ok(()),
            // A thread that failed before it was ready says why.
            Ok(Err(_)) => match self.results().await {
                Ok(_) => Err(BenchError::LoadDied),
                Err(error) => Err(error),
            },
            Err(_) => Err(BenchError::LoadNotReady { seconds: READY_LIMIT.as_secs() }),
        }
    }

    /// Starts to count.
    pub(crate) fn open(&self) {
        self.window.open();
    }

    /// Stops counting, and the load.
    pub(crate) fn close(&self) {
        self.window.close();
    }

    /// Closes, and adds up what the threads have counted, once their last requests are answered.
    pub(crate) async fn results(&mut self) -> Result<Tally, BenchError> {
        self.close();
        let mut sum = Tally::new()?;
        for result in try_join_all(self.results.drain(..)).await.map_err(|_| BenchError::LoadDied)? {
            sum.add(&result?);
        }
        Ok(sum)
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.close();
    }
}

fn run_here<T: Task>(task: &T, seat: Seat) -> Result<Tally, BenchError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| BenchError::io("start a runtime", cause))?;
    LocalSet::new().block_on(&runtime, task.run(seat))
}
