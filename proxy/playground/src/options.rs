use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

/// Where the first proxy takes clients: etcd's own client port.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 2379));

/// Where the shards keep their data, relative to the working directory.
pub const DEFAULT_DATA_DIR: &str = "./data";

/// What a user can choose about a playground.
#[derive(Clone, Debug)]
pub struct Options {
    /// Client address of the first proxy. With `P` as its port, everything else follows:
    ///
    /// | who | client port | other port |
    /// |---|---|---|
    /// | proxy n = 1, 2, … | `P + 100 (n - 1)` | admin: client port + 10 |
    /// | shard events | `P + 10000` | peer: client port + 1 |
    /// | shard leases | `P + 20000` | peer: client port + 1 |
    /// | shard pods | `P + 30000` | peer: client port + 1 |
    /// | shard rest | `P + 40000` | peer: client port + 1 |
    ///
    /// So `P` is between 1 and 25534. Proxies take clients on this IP address; shards and admin listeners use it when
    /// it is a loopback address, else 127.0.0.1.
    pub listen: SocketAddr,
    /// Data, logs and the proxies' configuration. Made when it is missing; one playground at a time may use it.
    pub data_dir: PathBuf,
    /// How many proxies share the shards: 1 to [`MAX_PROXIES`](crate::MAX_PROXIES).
    pub proxies: usize,
    /// Every route lives on the shard `rest`, as on a cluster that is still to be split: see `etcd-prism migrate`.
    pub unsplit: bool,
    /// The etcd binary; `None` takes `etcd` from the PATH.
    pub etcd: Option<PathBuf>,
    /// The etcd-prism binary, run as `PRISM serve --config FILE`.
    pub prism: PathBuf,
}

impl Options {
    /// The defaults: one proxy on [`DEFAULT_LISTEN`], data in [`DEFAULT_DATA_DIR`], etcd from the PATH.
    pub fn new(prism: PathBuf) -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            data_dir: PathBuf::from(DEFAULT_DATA_DIR),
            proxies: 1,
            unsplit: false,
            etcd: None,
            prism,
        }
    }
}
