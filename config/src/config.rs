//! What a configuration file says, as plain data. Every value was checked when it was read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::Endpoint;

/// The cluster name of a file that names none.
pub const DEFAULT_CLUSTER_NAME: &str = "etcd-prism";

/// Where the admin endpoints listen unless told otherwise: loopback, because they ask for no credentials.
pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2389);

/// What a gRPC message may hold beyond `max_request_bytes`, as etcd has it (`grpcOverheadBytes` in `server/etcdserver/api/v3rpc/grpc.go`).
pub const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

/// A whole configuration file. All paths are as written, or under the file's directory when it came from [`Config::load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name that the virtual cluster id is derived from: all proxies of one installation share it.
    pub cluster_name: String,
    /// What clients and operators connect to.
    pub listen: Listen,
    /// The backend etcd clusters, in file order; never empty, names unique, no cluster twice.
    pub shards: Vec<Shard>,
    /// The routes, in file order; names unique, exactly one of them is the default route.
    pub routes: Vec<Route>,
    /// How the proxies agree on who may write and read a route.
    pub ownership: Ownership,
    /// What is logged and how.
    pub log: Log,
    /// Where traces go.
    pub trace: Trace,
}

impl Config {
    /// The route without prefixes: it owns every key that no prefix names.
    pub fn default_route(&self) -> Option<&Route> {
        self.routes.iter().find(|route| route.is_default())
    }

    /// The **home** shard: that of the default route, which owns `compact_rev_key`. Always there in a `Config` that was
    /// parsed.
    pub fn home(&self) -> Option<&Shard> {
        self.shard(&self.default_route()?.shard)
    }

    /// The shard called `name`.
    pub fn shard(&self, name: &str) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.name == name)
    }
}

/// `[listen]`: the client port, the admin port and the bounds on what clients may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// gRPC and HTTP/1.1, like etcd's client port. Port 0 lets the kernel choose (then `advertise` must be given).
    pub client: SocketAddr,
    /// Metrics, health and status; no authentication. Default [`DEFAULT_ADMIN`].
    pub admin: SocketAddr,
    /// What `MemberList` answers, as `scheme://host:port`; never empty. Default: the client address.
    pub advertise: Vec<String>,
    /// TLS towards clients; without it the client port is plaintext.
    pub tls: Option<ServerTls>,
    /// Client connections at a time; beyond it the newest is refused. Default 10,000.
    pub max_connections: usize,
    /// HTTP/2 streams at a time per client connection. Default 65,536: etcd sets no bound, every watch of an API server
    /// holds one stream for ever, and a gRPC client that meets the bound waits in silence.
    pub max_concurrent_streams: u32,
    /// Bytes of one request. Default 1,572,864 as in etcd; a gRPC message may hold [`GRPC_OVERHEAD_BYTES`] more.
    pub max_request_bytes: usize,
    /// Operations in one Txn branch. Default 128 as in etcd.
    pub max_txn_ops: usize,
    /// Threads that serve clients; `None` is one per core.
    pub workers: Option<usize>,
    /// One shared work-stealing scheduler in place of one event loop per worker. Default false.
    pub work_stealing: bool,
    /// From SIGTERM to exit at most. Default 10 s.
    pub drain_timeout: Duration,
}

impl Listen {
    /// The largest gRPC message taken from a client, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_request_bytes.saturating_add(GRPC_OVERHEAD_BYTES)
    }
}

/// `[listen.tls]`: PEM files, reloaded when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
    /// When set, clients must present a certificate that one of these CAs signed.
    pub client_ca: Option<PathBuf>,
    /// When not empty, that certificate must carry one of these names; `*.` in front stands for one DNS label.
    pub allowed_names: Vec<String>,
}

/// `[[shard]]`: one backend etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// `[a-z0-9-]+`, in metrics, logs and `status`.
    pub name: String,
    /// Its members' client URLs; never empty, all of one scheme.
    pub endpoints: Vec<Endpoint>,
    /// Always there for https endpoints, never for http ones.
    pub tls: Option<ClientTls>,
    /// The etcd user that the proxy is; set exactly when `password_file` is.
    pub username: Option<String>,
    /// The file that holds that user's password.
    pub password_file: Option<PathBuf>,
    /// The proxy's own bound on a request, below clientv3's deadlines. Default 7 s.
    pub request_timeout: Duration,
    /// Requests in flight at a time; beyond it `too many requests`. Default 4,096.
    pub max_in_flight: usize,
    /// TCP and TLS handshake of one connection. Default 2 s.
    pub connect_timeout: Duration,
    /// HTTP/2 pings on a quiet connection, 10 s or more: etcd drops peers that ping more often than every 5 s. Default 10 s.
    pub keepalive_interval: Duration,
    /// Serve from an etcd below 3.5.13, which Kubernetes does not support for consistent reads. Default false.
    pub allow_unsupported_version: bool,
}

/// `[shard.tls]`: PEM files, reloaded when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// The CAs that may have signed the shard's certificates. The system's roots are never used.
    pub ca: PathBuf,
    /// Our client certificate chain; set exactly when `key` is.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
    /// The name that the shard's certificate must carry, in place of the endpoint's host.
    pub server_name: Option<String>,
}

/// `[[route]]`: a named set of key prefixes that lives, as a whole, on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `[a-z0-9-]+`, in metrics, logs and `status`.
    pub name: String,
    /// Each ends in `/` and also owns the bare key without it; the longest prefix wins over all routes. Empty for the
    /// default route only.
    pub prefixes: Vec<String>,
    /// The name of the shard that the route lives on.
    pub shard: String,
}

impl Route {
    /// Whether this is the one route without prefixes.
    pub fn is_default(&self) -> bool {
        self.prefixes.is_empty()
    }
}

/// `[ownership]`: fences and sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// False: writes are not fenced and reads need no session. For benchmarks and emergencies. Default true.
    pub fences: bool,
    /// TTL of the proxy's session at each shard, in whole seconds: how long a change of routes or a migration waits for a
    /// proxy that died. Default 10 s.
    pub session_ttl: Duration,
    /// The proxy's name in `status` and in sessions; `None`: the machine's name with a few random digits.
    pub name: Option<String>,
}

impl Default for Ownership {
    fn default() -> Self {
        Self { fences: true, session_ttl: Duration::from_secs(10), name: None }
    }
}

/// `[log]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written. Default `info`.
    pub level: LogLevel,
    /// Default `text`.
    pub format: LogFormat,
}

/// The least severe level that is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// What an operator should know.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// What a developer wants.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// All levels, most severe first.
    pub const ALL: [LogLevel; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// As in the file; also a valid `tracing` filter directive.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Both formats.
    pub const ALL: [LogFormat; 2] = [Self::Text, Self::Json];

    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// `[trace]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The OTLP/gRPC collector that spans are sent to, as `scheme://host:port`; `None` sends none.
    pub otlp_endpoint: Option<String>,
}
