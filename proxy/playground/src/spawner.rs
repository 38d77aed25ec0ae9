//! Starts children that end with this process, even when it is killed.
//!
//! `setpriv --pdeathsig KILL` has the kernel kill the child when its parent dies; but to the kernel, the parent is the
//! *thread* that forked. A worker of the runtime may end long before the process does and would take its children
//! along. So one thread does all the forking, and lives until the [`Spawner`] is dropped.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Dropping it kills every child that it started and that still runs.
pub(crate) struct Spawner {
    setpriv: PathBuf,
    requests: mpsc::Sender<Request>,
}

struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

// === impl Spawner ===

impl Spawner {
    /// Must be called within a tokio runtime, which will reap the children.
    pub(crate) fn start(setpriv: PathBuf) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let runtime = Handle::current();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _entered = runtime.enter();
            for mut request in inbox {
                // Whoever asked may have given up: the child is dropped then, which kills it.
                let _ = request.reply.send(request.command.spawn());
            }
        })?;
        Ok(Self { setpriv, requests })
    }

    /// A command for [`spawn`](Self::spawn), to which arguments can be added.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(&self.setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    /// Starts it with both outputs in `log`, in a process group of its own: a Ctrl-C in the terminal reaches only this
    /// process, which then stops its children in order.
    pub(crate) async fn spawn(&self, mut command: Command, log: File) -> io::Result<Child> {
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        let (reply, spawned) = oneshot::channel();
        let gone = || io::Error::other("the spawning thread is gone");
        self.requests.send(Request { command, reply }).map_err(|_| gone())?;
        spawned.await.map_err(|_| gone())?
    }
}
