//! An unmodified kube-apiserver as a child process.

use std::sync::Arc;
use std::time::Duration;

use super::api::{Api, ApiError};
use super::credentials::Credentials;
use super::kubectl::Kubectl;
use super::metrics::Metrics;
use super::minor::Minor;
use super::{log, objects};
use crate::ports::Port;
use crate::process::{Process, Spec};
use crate::scratch::Scratch;
use crate::wait;

/// Several start-ups at once on two cores take most of a minute.
const START_LIMIT: Duration = Duration::from_secs(180);

/// Starts an [`ApiServer`].
#[derive(Clone, Debug)]
pub struct ApiServerBuilder {
    name: String,
    minor: Minor,
    endpoints: Vec<String>,
    flags: Vec<String>,
    env: Vec<(String, String)>,
}

impl ApiServerBuilder {
    /// `endpoints` are the etcd endpoints it is given.
    pub fn new(name: &str, minor: Minor, endpoints: Vec<String>) -> Self {
        Self { name: name.to_owned(), minor, endpoints, flags: Vec::new(), env: Vec::new() }
    }

    /// How often it compares each cache with etcd, at least: the wait is up to half as long again (its own default is
    /// 5 minutes).
    pub fn consistency_checks(mut self, period: Duration) -> Self {
        let period = format!("{}ms", period.as_millis());
        self.env.push(("ETCD_PRISM_CONSISTENCY_CHECK_PERIOD".to_owned(), period));
        self
    }

    /// How often it compacts (its own default is 5 minutes).
    pub fn compaction_interval(self, interval: Duration) -> Self {
        self.flag(&format!("--etcd-compaction-interval={}s", interval.as_secs()))
    }

    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self, scratch: &Arc<Scratch>) -> ApiServer {
        let port = Port::reserve();
        let folder = scratch.path().join(&self.name);
        let credentials = Credentials::create(&folder);
        let mut args = vec![
            format!("--etcd-servers={}", self.endpoints.join(",")),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", port.number()),
            format!("--cert-dir={}", folder.display()),
            format!("--tls-cert-file={}", credentials.cert.display()),
            format!("--tls-private-key-file={}", credentials.key.display()),
            // Its key in /registry/masterleases/: two API servers must not share it.
            format!("--advertise-address=192.0.{}.{}", port.number() >> 8, port.number() & 0xff),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", credentials.service_account_public_key.display()),
            format!("--service-account-signing-key-file={}", credentials.service_account_key.display()),
            format!("--token-auth-file={}", credentials.tokens.display()),
            "--authorization-mode=AlwaysAllow".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        args.extend(self.flags);
        let mut env = self.env;
        // Makes it panic where its watch cache and etcd differ.
        env.push(("KUBE_WATCHCACHE_CONSISTENCY_CHECKER".to_owned(), "true".to_owned()));
        let process = Process::spawn(Spec {
            name: self.name.clone(),
            program: self.minor.apiserver(),
            args,
            env,
            log: scratch.log(&self.name),
        });
        let api = Api::new(&port.address(), &credentials);
        let process = process.expect("start kube-apiserver");
        let mut server = ApiServer {
            process,
            name: self.name,
            minor: self.minor,
            api,
            credentials,
            port,
            scratch: scratch.clone(),
        };
        server.wait_ready().await;
        server
    }
}

/// A running API server. Dropping it fails the test where it had ended by itself, or its log tells of a panic or of a
/// cache that differs from etcd.
#[derive(Debug)]
pub struct ApiServer {
    process: Process,
    name: String,
    minor: Minor,
    api: Api,
    credentials: Credentials,
    port: Port,
    scratch: Arc<Scratch>,
}

impl ApiServer {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn minor(&self) -> Minor {
        self.minor
    }

    /// A client; all clones share one connection.
    pub fn api(&self) -> Api {
        self.api.clone()
    }

    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.port.address(), &self.credentials, &self.scratch)
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(
            &self.api.text("/metrics").await.unwrap_or_else(|e| panic!("metrics of {}: {e}", self.name)),
        )
    }

    /// Starts it again, with empty caches, killing it first where it runs, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.process.restart().expect("start kube-apiserver again");
        self.wait_ready().await;
    }

    /// Defines [`objects::Kind::Widget`] and waits until widgets can be listed.
    pub async fn define_widgets(&self) {
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.api.create(definitions, &objects::crd()).await.expect("the definition of widgets");
        self.wait_for_widgets().await;
    }

    /// Waits until widgets can be listed and written.
    pub async fn wait_for_widgets(&self) {
        let what = format!("widgets on {}", self.name);
        wait::until(&what, async || self.api.get(&objects::Kind::Widget.collection()).await).await;
    }

    /// What is wrong with it: an end that nobody asked for, and lines of its log that no run may have.
    pub fn faults(&mut self) -> Vec<String> {
        let mut faults = log::faults(self.process.log());
        if let Some(status) = self.process.exited() {
            faults.insert(0, format!("it ended by itself: {status}"));
        }
        faults.into_iter().map(|fault| format!("{}: {fault}", self.name)).collect()
    }

    async fn wait_ready(&mut self) {
        let what = format!("{} ({}) to be ready", self.name, self.minor);
        let Self { process, api, .. } = self;
        wait::until_within(START_LIMIT, &what, async || {
            assert!(process.exited().is_none(), "{what}: it ended");
            api.text("/readyz").await?;
            // Its own controllers make the namespace after it is ready.
            api.get("/api/v1/namespaces/default").await?;
            Ok::<_, ApiError>(())
        })
        .await;
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let faults = self.faults();
        self.process.kill();
        if !faults.is_empty() && !std::thread::panicking() {
            panic!("{}", faults.join("\n"));
        }
    }
}
