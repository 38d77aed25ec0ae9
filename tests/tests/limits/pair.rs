//! An etcd, and the proxy: both are asked the same.

use bytes::Bytes;
use etcd_prism_tests::etcd::{EtcdBuilder, EtcdCluster};
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::raw::{Answer, RawConnection};
use etcd_prism_tests::topology::Topology;
use http::Request;

/// etcd as it comes, and a proxy over four shards that have the room which the proxy asks for.
pub(crate) struct Pair {
    pub(crate) topology: Topology,
    direct: EtcdCluster,
}

/// An answer, reduced to what a client acts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) http: Option<u16>,
    pub(crate) status: Option<(u32, String)>,
    pub(crate) reset: Option<String>,
    pub(crate) messages: usize,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let topology = Topology::start_with(Layout::four_shards(), EtcdBuilder::new, |proxy| proxy).await;
        let direct = EtcdBuilder::new("direct").start(&topology.scratch).await;
        Self { topology, direct }
    }

    /// `127.0.0.1:PORT` of etcd and of the proxy.
    pub(crate) fn addresses(&self) -> [String; 2] {
        [self.direct.endpoints()[0].clone(), self.topology.proxy.endpoint()]
            .map(|url| url.replace("http://", ""))
    }

    /// Asks both, each on a connection of its own, and reads to the end: etcd's outcome and the proxy's.
    pub(crate) async fn ask(&self, request: impl Fn() -> Request<()>, body: &Bytes) -> [Outcome; 2] {
        let [etcd, proxy] = self.addresses();
        let etcd = RawConnection::connect(&etcd).await.exchange(request(), body.clone()).await;
        let proxy = RawConnection::connect(&proxy).await.exchange(request(), body.clone()).await;
        [Outcome::of(&etcd), Outcome::of(&proxy)]
    }
}

impl Outcome {
    pub(crate) fn of(answer: &Answer) -> Self {
        // Go's protobuf varies the space behind "proto:" on purpose, from build to build.
        let status =
            answer.status().map(|(code, text)| (code, text.replace('\u{a0}', " ").replace("%C2%A0", " ")));
        Self {
            http: answer.http.map(|http| http.as_u16()),
            status,
            reset: answer.error.as_ref().map(|(_, text)| text.clone()),
            messages: usize::from(!answer.body.is_empty()),
        }
    }
}
