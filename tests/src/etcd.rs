//! Real etcd clusters of one or three members.

use std::sync::Arc;

use crate::client::Client;
use crate::ports::Port;
use crate::process::{Process, Signal, Spec};
use crate::request;
use crate::scratch::Scratch;
use crate::tools::{self, Version};
use crate::wait;

/// Starts an [`EtcdCluster`].
#[derive(Clone, Debug)]
pub struct EtcdBuilder {
    name: String,
    version: Version,
    members: usize,
    flags: Vec<String>,
}

impl EtcdBuilder {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), version: Version::default(), members: 1, flags: Vec::new() }
    }

    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// 1 or 3.
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// Backend quota in bytes; above it the cluster raises NOSPACE.
    pub fn quota(self, bytes: u64) -> Self {
        self.flag(&format!("--quota-backend-bytes={bytes}"))
    }

    /// How often watchers that asked for it get progress (at least 100 ms).
    pub fn progress_interval(self, milliseconds: u64) -> Self {
        let prefix = if self.version == Version::V3_5 { "experimental-" } else { "" };
        self.flag(&format!("--{prefix}watch-progress-notify-interval={milliseconds}ms"))
    }

    /// Room for what the proxy adds to a write, as the documentation asks of a shard.
    pub fn as_shard(self) -> Self {
        self.flag("--max-txn-ops=140").flag(&format!("--max-request-bytes={}", 3 * 512 * 1024 + 4096))
    }

    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts every member and waits until each answers linearizable reads.
    pub async fn start(self, scratch: &Arc<Scratch>) -> EtcdCluster {
        let ports: Vec<[Port; 2]> = (0..self.members).map(|_| [Port::reserve(), Port::reserve()]).collect();
        let members: Vec<String> = (0..self.members).map(|index| format!("{}-{index}", self.name)).collect();
        let initial: Vec<String> =
            members.iter().zip(&ports).map(|(name, [_, peer])| format!("{name}={}", peer.url())).collect();
        let servers = members
            .iter()
            .zip(ports)
            .map(|(name, [client, peer])| {
                let args = self.arguments(name, &client, &peer, &initial.join(","), scratch);
                let program = tools::etcd(self.version);
                let (name, log) = (name.clone(), scratch.log(name));
                let spec = Spec { name, program, args, env: Vec::new(), log };
                let process = Process::spawn(spec).expect("start etcd");
                EtcdServer { process, client, _peer: peer, _scratch: scratch.clone() }
            })
            .collect();
        let cluster = EtcdCluster { name: self.name, servers };
        cluster.wait_ready().await;
        cluster
    }

    fn arguments(
        &self,
        name: &str,
        client: &Port,
        peer: &Port,
        initial: &str,
        scratch: &Scratch,
    ) -> Vec<String> {
        // One member never has to wait for another, so it may elect itself at once.
        let (heartbeat, election) = if self.members == 1 { (20, 100) } else { (50, 500) };
        let mut args = vec![
            format!("--name={name}"),
            format!("--data-dir={}", scratch.data(name).display()),
            format!("--listen-client-urls={}", client.url()),
            format!("--advertise-client-urls={}", client.url()),
            format!("--listen-peer-urls={}", peer.url()),
            format!("--initial-advertise-peer-urls={}", peer.url()),
            format!("--initial-cluster={initial}"),
            // Two clusters of one name and the same addresses would share their cluster id.
            format!("--initial-cluster-token={initial}"),
            format!("--heartbeat-interval={heartbeat}"),
            format!("--election-timeout={election}"),
            // A killed process loses nothing that it wrote: only a machine that stops would.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        args.extend(self.flags.iter().cloned());
        args
    }
}

/// One running cluster.
#[derive(Debug)]
pub struct EtcdCluster {
    name: String,
    servers: Vec<EtcdServer>,
}

impl EtcdCluster {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client addresses, as `http://127.0.0.1:PORT`.
    pub fn endpoints(&self) -> Vec<String> {
        self.servers.iter().map(EtcdServer::endpoint).collect()
    }

    /// A client of the first member.
    pub fn client(&self) -> Client {
        Client::new(&self.servers[0].endpoint())
    }

    pub fn members(&mut self) -> &mut [EtcdServer] {
        &mut self.servers
    }

    /// SIGKILL to every member.
    pub fn kill(&mut self) {
        self.servers.iter_mut().for_each(EtcdServer::kill);
    }

    /// SIGSTOP to every member: connections stay, nothing answers.
    pub fn pause(&mut self) {
        self.servers.iter_mut().for_each(EtcdServer::pause);
    }

    /// SIGCONT to every member.
    pub fn resume(&mut self) {
        self.servers.iter_mut().for_each(EtcdServer::resume);
    }

    /// Starts every member again on its ports and data, killing it first where it runs, and waits until all answer.
    pub async fn restart(&mut self) {
        for server in &mut self.servers {
            server.start_again();
        }
        self.wait_ready().await;
    }

    /// Waits until every member answers a linearizable read.
    pub async fn wait_ready(&self) {
        for server in &self.servers {
            let client = Client::new(&server.endpoint());
            let what = format!("etcd {} on {}", self.name, server.endpoint());
            wait::until(&what, async || client.kv().range(request::get("health")).await).await;
        }
    }
}

/// One member.
#[derive(Debug)]
pub struct EtcdServer {
    process: Process,
    client: Port,
    _peer: Port,
    _scratch: Arc<Scratch>,
}

impl EtcdServer {
    pub fn endpoint(&self) -> String {
        self.client.url()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.signal(Signal::CONT);
    }

    /// From its next start on, this flag takes the place of those that begin with `old`.
    pub fn replace_flag(&mut self, old: &str, flag: &str) {
        self.process.replace_argument(old, flag);
    }

    /// Starts it on its ports and data, killing it first where it runs. Does not wait until it answers.
    pub fn start_again(&mut self) {
        self.process.restart().expect("start etcd again");
    }
}
