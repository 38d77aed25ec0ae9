//! etcdctl as a user runs it.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::{Process, Spec};
use crate::scratch::Scratch;
use crate::tools;
use crate::wait::{self, DEADLINE};

/// etcdctl with one endpoint.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    endpoint: String,
    scratch: Arc<Scratch>,
}

/// What a command printed.
#[derive(Clone, Debug)]
pub struct Printed {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Etcdctl {
    /// `endpoint` is `http://HOST:PORT`.
    pub fn new(endpoint: &str, scratch: &Arc<Scratch>) -> Self {
        Self { endpoint: endpoint.to_owned(), scratch: scratch.clone() }
    }

    /// Runs a command that must succeed; what it prints on standard output, trimmed.
    pub async fn run(&self, args: &[&str]) -> String {
        self.run_with(args, "").await
    }

    /// As [`run`](Self::run), with `input` on standard input.
    pub async fn run_with(&self, args: &[&str], input: &str) -> String {
        let printed = self.try_run(args, input).await;
        assert!(printed.success, "etcdctl {args:?}: {printed:?}");
        printed.stdout.trim().to_owned()
    }

    /// Runs a command that must fail; what it prints on standard error.
    pub async fn refused(&self, args: &[&str]) -> String {
        let printed = self.try_run(args, "").await;
        assert!(!printed.success, "etcdctl {args:?} should fail: {printed:?}");
        printed.stderr
    }

    /// Runs a command to its end, at most [`DEADLINE`] and a minute.
    pub async fn try_run(&self, args: &[&str], input: &str) -> Printed {
        let limit = DEADLINE + std::time::Duration::from_secs(60);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(tools::etcdctl());
        command.arg(self.endpoints()).args(args).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD"))
        {
            command.env_remove(name);
        }
        let mut child = command.spawn().expect("start etcdctl");
        let mut stdin = child.stdin.take().expect("standard input");
        stdin.write_all(input.as_bytes()).await.expect("input for etcdctl");
        drop(stdin);
        let output = timeout(limit, child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("etcdctl {args:?} has not ended after {limit:?}"));
        let output = output.expect("etcdctl's output");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Printed { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts a command that goes on by itself.
    pub fn start(&self, args: &[&str]) -> Running {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("etcdctl-{}-{}", args[0], NEXT.fetch_add(1, Ordering::Relaxed));
        let mut all = vec![self.endpoints()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let log = self.scratch.log(&name);
        let spec = Spec { name, program: tools::etcdctl(), args: all, env: Vec::new(), log };
        Running { process: Process::spawn(spec).expect("start etcdctl") }
    }

    fn endpoints(&self) -> String {
        format!("--endpoints={}", self.endpoint)
    }
}

/// A running etcdctl, and what it has printed so far.
#[derive(Debug)]
pub struct Running {
    pub process: Process,
}

impl Running {
    /// Everything printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.process.log()).expect("what etcdctl printed")
    }

    /// Waits until `wanted` accepts what was printed.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait::until(&format!("etcdctl to print {what}"), async || {
            let text = self.printed();
            if wanted(&text) { Ok(text) } else { Err(text) }
        })
        .await
    }
}
