//! Clients of other languages do through the proxies what they do with etcd, and find one cluster id in every reply.
//!
//! Go's client is etcd's own and runs always; those of Java and Python come from their registries and count as long.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcd_prism_proto::etcdserverpb::MemberListRequest;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::request::get;
use etcd_prism_tests::scratch::Scratch;
use etcd_prism_tests::topology::Topology;
use tokio::process::Command;
use tokio::time::{Duration, timeout};

/// Getting and building a client takes its time where nothing is cached; driving it takes seconds.
const PATIENCE: Duration = Duration::from_secs(600);

/// Two proxies over four shards.
struct Site {
    topology: Topology,
    second: Proxy,
}

impl Site {
    async fn start() -> Self {
        let (scratch, layout) = (Arc::new(Scratch::new()), Layout::four_shards());
        let shards = Topology::shards(&layout, EtcdBuilder::new, &scratch).await;
        let start = async |name: &str| {
            let mut builder = ProxyBuilder::new(name, layout.clone());
            for (shard, cluster) in &shards {
                builder = builder.shard(shard, cluster.endpoints());
            }
            builder.start(&scratch).await
        };
        let (proxy, second) = (start("proxy").await, start("second").await);
        Self { topology: Topology { proxy, shards, layout, scratch }, second }
    }

    fn endpoints(&self) -> [String; 2] {
        [self.topology.proxy.endpoint(), self.second.endpoint()]
    }

    /// The one id, asked in Rust of both proxies and of every shard's replies.
    async fn cluster_id(&self) -> u64 {
        let mut ids = Vec::new();
        for proxy in [&self.topology.proxy, &self.second] {
            let client = proxy.client();
            let members =
                client.cluster().member_list(MemberListRequest::default()).await.expect("the members");
            ids.push(members.into_inner().header.expect("a header").cluster_id);
            for key in ["/registry/events/a", "/registry/leases/a", "/registry/pods/a", "a"] {
                let read = client.kv().range(get(key)).await.expect("a read").into_inner();
                ids.push(read.header.expect("a header").cluster_id);
            }
        }
        for (name, shard) in &self.topology.shards {
            let read = shard.client().kv().range(get("a")).await.expect("a read of a shard").into_inner();
            assert!(!ids.contains(&read.header.expect("a header").cluster_id), "{name}'s own id shows");
        }
        assert!(ids[0] != 0 && ids.iter().all(|id| *id == ids[0]), "{ids:x?}");
        ids[0]
    }

    /// Runs a client with both endpoints; it prints `cluster_id=ID` and exits with success.
    async fn drive(&self, mut command: Command) {
        command.args(self.endpoints()).kill_on_drop(true);
        let output =
            timeout(PATIENCE, command.output()).await.expect("the client ends").expect("the client starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
        let id = text.lines().find_map(|line| line.trim().strip_prefix("cluster_id="));
        assert_eq!(id, Some(self.cluster_id().await.to_string().as_str()), "{text}\n{errors}");
    }
}

/// A folder beside this file.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a step of a client's build. Its output is shown when it fails.
async fn build(what: &str, command: &mut Command) {
    let output = timeout(PATIENCE, command.output()).await.expect("the build ends");
    let output = output.unwrap_or_else(|error| panic!("{what}: {error}"));
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{what}: {}\n{text}", output.status);
}

#[tokio::test]
async fn go_clientv3() {
    let site = Site::start().await;
    let program = site.topology.scratch.path().join("go-client");
    let mut go = Command::new("go");
    go.current_dir(folder("go")).args(["build", "-o"]).arg(&program).arg(".");
    build("go build", &mut go).await;
    site.drive(Command::new(program)).await;
}

#[tokio::test]
#[ignore = "long"]
async fn java_jetcd() {
    let site = Site::start().await;
    let target = site.topology.scratch.path().join("jetcd");
    let mut maven = Command::new("mvn");
    maven.current_dir(folder("jetcd")).args(["--batch-mode", "--quiet", "package"]);
    maven.arg(format!("-Dbuild.folder={}", target.display()));
    build("mvn package", &mut maven).await;
    let mut java = Command::new("java");
    java.arg("-cp").arg(format!("{0}/client.jar:{0}/libraries/*", target.display())).arg("Client");
    site.drive(java).await;
}

#[tokio::test]
#[ignore = "long"]
async fn python_aetcd() {
    python("aetcd").await;
}

#[tokio::test]
#[ignore = "long"]
async fn python_etcd3() {
    python("etcd3").await;
}

/// Runs `NAME/client.py` with what `NAME/requirements.txt` asks for, in an environment of its own.
async fn python(name: &str) {
    let site = Site::start().await;
    let environment = site.topology.scratch.path().join(name);
    build("python3 -m venv", Command::new("python3").args(["-m", "venv"]).arg(&environment)).await;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--quiet", "--requirement"]).arg(folder(name).join("requirements.txt"));
    build("pip install", &mut pip).await;
    let mut python = Command::new(environment.join("bin/python"));
    python.arg(folder(name).join("client.py"));
    site.drive(python).await;
}
