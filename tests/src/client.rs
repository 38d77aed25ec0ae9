//! gRPC clients of the etcd API, without limits of their own.

use std::time::Duration;

use etcd_prism_proto::etcdserverpb::auth_client::AuthClient;
use etcd_prism_proto::etcdserverpb::cluster_client::ClusterClient;
use etcd_prism_proto::etcdserverpb::kv_client::KvClient;
use etcd_prism_proto::etcdserverpb::lease_client::LeaseClient;
use etcd_prism_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use etcd_prism_proto::etcdserverpb::watch_client::WatchClient;
use etcd_prism_proto::v3electionpb::election_client::ElectionClient;
use etcd_prism_proto::v3lockpb::lock_client::LockClient;
use tonic::transport::{Channel, Endpoint};

/// One connection, dialled when it is first used and again when it breaks.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    channel: Channel,
}

macro_rules! services {
    ($($name:ident: $client:ident),* $(,)?) => {
        $(
            #[doc = concat!("A [`", stringify!($client), "`] on this connection.")]
            pub fn $name(&self) -> $client<Channel> {
                $client::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
            }
        )*
    };
}

/// In bytes.
const CONNECTION_WINDOW: u32 = 1 << 30;

impl Client {
    /// `endpoint` is `http://HOST:PORT`.
    pub fn new(endpoint: &str) -> Self {
        Self::with_window(endpoint, 8 << 20)
    }

    /// A server can send `window` bytes on one stream before the client reads.
    ///
    /// The window of the connection is large whatever `window` is: h2 derives from it how many small DATA frames may lie
    /// unread, and ends the connection with "too_many_data_frames" at one more. Tests hold many watches of small events
    /// open and read them later.
    pub fn with_window(endpoint: &str, window: u32) -> Self {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .expect("an endpoint URL")
            .connect_timeout(Duration::from_secs(5))
            .initial_stream_window_size(window)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect_lazy();
        Self { endpoint: endpoint.to_owned(), channel }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    services! {
        kv: KvClient,
        watch: WatchClient,
        lease: LeaseClient,
        cluster: ClusterClient,
        maintenance: MaintenanceClient,
        auth: AuthClient,
        lock: LockClient,
        election: ElectionClient,
    }
}
