//! Child processes that never outlive the test.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::sync::mpsc;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::wait;

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Standard output and error are appended to it.
    pub log: PathBuf,
}

/// A running child. Killed when dropped; when the test is failing, the end of its log is printed then.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    exited: Option<ExitStatus>,
}

impl Process {
    pub fn spawn(spec: Spec) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&spec.log)?;
        // The kernel kills the child when the thread that started it ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&spec.program).args(&spec.args);
        // etcd and etcdctl take flags from the environment, also those that were meant for others.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD"))
        {
            command.env_remove(name);
        }
        command.envs(spec.env.iter().map(|(name, value)| (name, value)));
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = spawn_from_lasting_thread(command)?;
        Ok(Self { spec, child, exited: None })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// The exit status, once it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().expect("wait for a child of ours");
        }
        self.exited
    }

    /// Sends `signal`; a child that is gone gets none.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
            kill_process(pid, signal).expect("signal to a child of ours");
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            self.child.kill().expect("kill a child of ours");
            self.exited = Some(self.child.wait().expect("wait for a child of ours"));
        }
    }

    /// Waits until it has ended by itself.
    pub async fn wait(&mut self) -> ExitStatus {
        let what = format!("{} to exit", self.spec.name);
        wait::until(&what, async || self.exited().ok_or("still running")).await
    }

    /// From its next start on, this argument takes the place of those that begin with `old`.
    pub fn replace_argument(&mut self, old: &str, argument: &str) {
        for found in self.spec.args.iter_mut().filter(|found| found.starts_with(old)) {
            argument.clone_into(found);
        }
    }

    /// Kills what still runs of it, and starts it again.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        *self = Self::spawn(self.spec.clone())?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            print_tail(&self.spec);
        }
    }
}

fn print_tail(Spec { name, log, .. }: &Spec) {
    const LINES: usize = 10;
    const LENGTH: usize = 400;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    eprintln!("--- {name}: last lines of {}", log.display());
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        eprintln!("{}", &line[..line.floor_char_boundary(LENGTH)]);
    }
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// A test's own thread ends with the test, and a runtime's with the runtime: neither may be the parent.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in orders {
                reply.send(command.spawn()).ok();
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}
