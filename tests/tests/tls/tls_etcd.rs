//! A real etcd that speaks TLS and asks for client certificates.

use std::path::PathBuf;
use std::sync::Arc;

use etcd_prism_tests::ports::Port;
use etcd_prism_tests::process::{Process, Spec};
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::tools::{self, Version};

/// The files that it is started with.
pub(crate) struct EtcdTls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: PathBuf,
}

/// One member.
pub(crate) struct TlsEtcd {
    ports: [Port; 2],
    _process: Process,
    _scratch: Arc<Scratch>,
}

impl TlsEtcd {
    /// Starts it and does not wait: only a client with a certificate could ask.
    pub(crate) fn start(name: &str, tls: &EtcdTls, scratch: &Arc<Scratch>) -> Self {
        let ports = [Port::reserve(), Port::reserve()];
        let [client, peer] = &ports;
        let args = [
            format!("--name={name}"),
            format!("--data-dir={}", scratch.data(name).display()),
            format!("--listen-client-urls=https://{}", client.address()),
            format!("--advertise-client-urls=https://{}", client.address()),
            format!("--listen-peer-urls={}", peer.url()),
            format!("--initial-advertise-peer-urls={}", peer.url()),
            format!("--initial-cluster={name}={}", peer.url()),
            format!("--cert-file={}", tls.cert.display()),
            format!("--key-file={}", tls.key.display()),
            format!("--trusted-ca-file={}", tls.client_ca.display()),
            "--client-cert-auth".to_owned(),
            "--heartbeat-interval=20".to_owned(),
            "--election-timeout=100".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let spec = Spec {
            name: name.to_owned(),
            program: tools::etcd(Version::Newest),
            args: args.into(),
            env: Vec::new(),
            log: scratch.log(name),
        };
        let process = Process::spawn(spec).expect("start etcd");
        Self { ports, _process: process, _scratch: scratch.clone() }
    }

    /// `https://127.0.0.1:PORT`
    pub(crate) fn endpoint(&self) -> String {
        self.ports[0].url().replace("http://", "https://")
    }
}
