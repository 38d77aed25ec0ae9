//! A playground as a process, and what tests do to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Killed when dropped; its children go with it.
pub(crate) struct Playground {
    process: Child,
    lines: Receiver<String>,
    output: String,
    errors: String,
}

// === impl Playground ===

impl Playground {
    pub(crate) fn start(listen: &str, data_dir: &Path, proxies: usize) -> Self {
        Self::start_with_etcd(listen, data_dir, proxies, etcd().to_str().expect("UTF-8"))
    }

    pub(crate) fn start_with_etcd(listen: &str, data_dir: &Path, proxies: usize, etcd: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fake-prism"))
            .args(["playground", listen, data_dir.to_str().expect("UTF-8"), &proxies.to_string(), etcd])
            // No shard would start with it: what the user has set for another etcd must not reach them.
            .env("ETCD_QUOTA_BACKEND_BYTES", "not a number")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("fake-prism starts");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.expect("UTF-8"));
            }
        });
        Self { process, lines, output: String::new(), errors: String::new() }
    }

    pub(crate) fn wait_until_ready(&mut self) {
        self.wait_for("\nready.");
        // The rest of what it prints comes in one piece with that line.
        self.wait_for("--disable-admission-plugins");
    }

    /// Waits until its standard output contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.output.contains(text) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.output.extend([line.as_str(), "\n"]),
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} after 60 s:\n{}", self.output),
                Err(RecvTimeoutError::Disconnected) => {
                    self.wait();
                    panic!("ended without {text:?}:\n{}{}", self.output, self.errors)
                }
            }
        }
    }

    pub(crate) fn output(&self) -> &str {
        &self.output
    }

    /// What it wrote to standard error; complete after [`wait`](Self::wait).
    pub(crate) fn errors(&self) -> &str {
        &self.errors
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The process id of a child, from the line that announces it.
    pub(crate) fn pid_of(&self, name: &str) -> u32 {
        let line =
            self.output.lines().find(|line| line.trim_start().starts_with(name)).expect("a line about it");
        let pid = line.split_whitespace().skip_while(|word| *word != "pid").nth(1).expect("a pid");
        pid.parse().expect("a number")
    }

    pub(crate) fn signal(&self, signal: &str) {
        crate::support::signal(self.pid(), signal);
    }

    /// The exit code; `None` when a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut code = None;
        until(Duration::from_secs(60), "the playground still runs", || {
            let status = self.process.try_wait().expect("waitable");
            code = status.map(|status| status.code());
            code.is_some()
        });
        if let Some(mut stderr) = self.process.stderr.take() {
            stderr.read_to_string(&mut self.errors).expect("UTF-8");
        }
        self.output.extend(self.lines.iter().flat_map(|line| [line, "\n".to_owned()]));
        code.flatten()
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn etcd() -> PathBuf {
    tool("etcd")
}

pub(crate) fn etcdctl(endpoint: &str, args: &[&str]) -> String {
    etcdctl_stdin(endpoint, args, "")
}

pub(crate) fn etcdctl_stdin(endpoint: &str, args: &[&str], stdin: &str) -> String {
    let mut etcdctl = Command::new(tool("etcdctl"))
        .args(["--endpoints", endpoint])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("etcdctl starts");
    etcdctl.stdin.take().expect("piped").write_all(stdin.as_bytes()).expect("etcdctl reads");
    let output = etcdctl.wait_with_output().expect("etcdctl ends");
    assert!(output.status.success(), "etcdctl {args:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub(crate) fn signal(pid: u32, signal: &str) {
    let status =
        Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill -{signal} {pid}");
}

pub(crate) fn listening(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Waits for `done`; fails with `otherwise` when that takes longer than `within`.
pub(crate) fn until(within: Duration, otherwise: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !done() {
        assert!(Instant::now() < deadline, "{otherwise} after {} s", within.as_secs());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn tool(name: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/tool");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().expect("scripts/tool runs");
    assert!(output.status.success(), "scripts/tool {name}");
    PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim_end())
}
