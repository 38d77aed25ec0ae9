//! The real proxy as a child process.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::client::Client;
use crate::http;
use crate::layout::Layout;
use crate::ports::Port;
use crate::process::{Process, Signal, Spec};
use crate::scratch::Scratch;
use crate::tools;
use crate::wait;

/// The TLS files of the client listener.
#[derive(Clone, Debug)]
pub struct ListenTls {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Makes client certificates required.
    pub client_ca: Option<PathBuf>,
    pub allowed_names: Vec<String>,
}

/// One `[[shard]]`; `extra` is TOML that belongs below it.
#[derive(Clone, Debug)]
pub struct Shard {
    pub name: String,
    pub endpoints: Vec<String>,
    pub extra: String,
}

/// The configuration of one proxy, and how to start it.
#[derive(Clone, Debug)]
pub struct ProxyBuilder {
    name: String,
    layout: Layout,
    shards: Vec<Shard>,
    tls: Option<ListenTls>,
    listen: String,
    extra: String,
    arguments: Vec<String>,
    fences: bool,
}

impl ProxyBuilder {
    pub fn new(name: &str, layout: Layout) -> Self {
        let name = name.to_owned();
        Self {
            name,
            layout,
            shards: Vec::new(),
            tls: None,
            listen: String::new(),
            extra: String::new(),
            arguments: Vec::new(),
            fences: true,
        }
    }

    /// Routes otherwise than it was made with.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    pub fn shard(mut self, name: &str, endpoints: Vec<String>) -> Self {
        self.shards.push(Shard { name: name.to_owned(), endpoints, extra: String::new() });
        self
    }

    /// TOML lines for the `[[shard]]` called `name`.
    pub fn shard_extra(mut self, name: &str, toml: &str) -> Self {
        let shard = self.shards.iter_mut().find(|shard| shard.name == name).expect("a shard of this proxy");
        shard.extra.push_str(toml);
        self
    }

    pub fn tls(mut self, tls: ListenTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// TOML lines for `[listen]`.
    pub fn listen_extra(mut self, toml: &str) -> Self {
        self.listen.push_str(toml);
        self
    }

    /// TOML tables for the end of the file.
    pub fn extra(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self
    }

    /// For shards that are no etcd, or are not all there at the first start.
    pub fn without_fences(mut self) -> Self {
        self.fences = false;
        self
    }

    /// An argument for `etcd-prism serve`.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self, scratch: &Arc<Scratch>) -> Proxy {
        let proxy = self.start_unready(scratch);
        proxy.wait_ready().await;
        proxy
    }

    /// Starts it without waiting.
    pub fn start_unready(self, scratch: &Arc<Scratch>) -> Proxy {
        let ports = [Port::reserve(), Port::reserve()];
        let config = scratch.path().join(format!("{}.toml", self.name));
        let mut args = vec!["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        args.extend(self.arguments.iter().cloned());
        std::fs::write(&config, self.toml(&ports)).expect("configuration file");
        let spec = Spec {
            name: self.name.clone(),
            program: tools::etcd_prism(),
            args,
            env: Vec::new(),
            log: scratch.log(&self.name),
        };
        let process = Process::spawn(spec).expect("start etcd-prism");
        let scratch = scratch.clone();
        let mut expected = BTreeSet::new();
        if !self.fences {
            expected.insert("fences are switched off".to_owned());
        }
        Proxy { process, builder: self, config, ports, expected: Mutex::new(expected), _scratch: scratch }
    }

    fn toml(&self, [client, admin]: &[Port; 2]) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let mut text = format!(
            "[listen]\nclient = {:?}\nadmin = {:?}\nadvertise = [{:?}]\n{}\n[log]\nformat = \"json\"\n",
            client.address(),
            admin.address(),
            format!("{scheme}://{}", client.address()),
            self.listen,
        );
        if let Some(tls) = &self.tls {
            write!(text, "\n[listen.tls]\ncert = {:?}\nkey = {:?}\n", tls.cert, tls.key)
                .expect("write to a string");
            if let Some(ca) = &tls.client_ca {
                writeln!(text, "client_ca = {ca:?}").expect("write to a string");
            }
            if !tls.allowed_names.is_empty() {
                writeln!(text, "allowed_names = {:?}", tls.allowed_names).expect("write to a string");
            }
        }
        for Shard { name, endpoints, extra } in &self.shards {
            writeln!(text, "\n[[shard]]\nname = {name:?}\nendpoints = {endpoints:?}\n{extra}")
                .expect("write to a string");
        }
        for route in &self.layout.routes {
            writeln!(text, "\n[[route]]\nname = {:?}\nshard = {:?}", route.name, route.shard)
                .expect("write to a string");
            if !route.prefixes.is_empty() {
                writeln!(text, "prefixes = {:?}", route.prefixes).expect("write to a string");
            }
        }
        if !self.fences {
            text.push_str("\n[ownership]\nfences = false\n");
        }
        text + "\n" + &self.extra
    }
}

/// A running proxy. When it is dropped, a line at WARN or ERROR in its log that [`expect_log`](Self::expect_log) does not
/// name fails the test, and so does a line that is not JSON (a panic).
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    builder: ProxyBuilder,
    config: PathBuf,
    ports: [Port; 2],
    expected: Mutex<BTreeSet<String>>,
    _scratch: Arc<Scratch>,
}

impl Proxy {
    /// `http://127.0.0.1:PORT` (`https` with TLS).
    pub fn endpoint(&self) -> String {
        let scheme = if self.builder.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.ports[0].address())
    }

    /// `127.0.0.1:PORT` of the admin listener.
    pub fn admin(&self) -> String {
        self.ports[1].address()
    }

    /// A plaintext client on a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(&self.endpoint())
    }

    /// Waits until its `/readyz` answers 200.
    pub async fn wait_ready(&self) {
        let (admin, what) = (self.admin(), format!("{} to be ready", self.builder.name));
        wait::until(&what, async || http::get_ok(&admin, "/readyz").await).await;
    }

    /// Its metrics in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        http::get_ok(&self.admin(), "/metrics").await.expect("metrics of the proxy")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: connections stay, nothing answers.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// SIGTERM; the drain goes on while the test does.
    pub fn terminate(&mut self) {
        self.process.signal(Signal::TERM);
    }

    /// SIGTERM, and waits until it has drained and ended.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.process.wait().await
    }

    /// Starts it on its ports and configuration, killing it first where it runs, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.process.restart().expect("start etcd-prism again");
        self.wait_ready().await;
    }

    /// Writes a changed configuration; [`reload`](Self::reload) or a restart makes it count.
    pub fn reconfigure(&mut self, change: impl FnOnce(ProxyBuilder) -> ProxyBuilder) {
        self.builder = change(self.builder.clone());
        std::fs::write(&self.config, self.builder.toml(&self.ports)).expect("configuration file");
    }

    /// SIGHUP.
    pub fn reload(&mut self) {
        self.process.signal(Signal::HUP);
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        rss_of(self.pid())
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Every line of its log so far, over all restarts.
    pub fn log_lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.process.log()).expect("log of the proxy");
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until a log line contains `pattern`.
    pub async fn wait_log(&self, pattern: &str) -> String {
        let find = || self.log_lines().into_iter().find(|line| line.contains(pattern));
        wait::until(&format!("a log line with '{pattern}'"), async || find().ok_or(())).await
    }

    /// Lines at WARN or ERROR that contain `pattern` are part of what the test does.
    pub fn expect_log(&self, pattern: &str) {
        self.expected.lock().insert(pattern.to_owned());
    }

    fn unexpected_lines(&self) -> Vec<String> {
        let expected = self.expected.lock();
        let mut lines = self.log_lines();
        lines.retain(|line| is_alarming(line) && !expected.iter().any(|pattern| line.contains(pattern)));
        lines
    }
}

/// Resident memory of a process in bytes.
pub fn rss_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status of the proxy");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS of the proxy");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") * 1024
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.process.kill();
        let lines = self.unexpected_lines();
        if !lines.is_empty() && !std::thread::panicking() {
            panic!("unexpected lines in the log of {}:\n{}", self.builder.name, lines.join("\n"));
        }
    }
}

/// Whether a log line is at WARN or ERROR, or not a log line at all.
fn is_alarming(line: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(line) {
        Ok(entry) => !matches!(entry["level"].as_str(), Some("INFO" | "DEBUG" | "TRACE")),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::is_alarming;

    #[test]
    fn warnings_errors_and_panics_are_alarming() {
        for (line, alarming) in [
            (r#"{"level":"INFO","fields":{"message":"a WARN in the text"}}"#, false),
            (r#"{"level":"WARN","fields":{"message":"x"}}"#, true),
            (r#"{"level":"ERROR","fields":{"message":"x"}}"#, true),
            ("thread 'main' panicked at src/main.rs:1", true),
        ] {
            assert_eq!(is_alarming(line), alarming, "{line}");
        }
    }
}
