//! The proxy in front of a shard that is not etcd.

use std::sync::Arc;

use etcd_prism_tests::fake_shard::{FakeCall, FakeShard};
use etcd_prism_tests::layout::Layout;
use etcd_prism_tests::proxy::{Proxy, ProxyBuilder};
use etcd_prism_tests::raw::RawConnection;
use etcd_prism_tests::scratch::Scratch;

/// All routes on one fake shard.
pub(crate) struct Rig {
    pub(crate) proxy: Proxy,
    _shard: FakeShard,
    _scratch: Arc<Scratch>,
}

impl Rig {
    /// `answer` gets what the proxy asks; `shard` is TOML for the shard, `listen` changes the rest.
    pub(crate) async fn start<F, A>(
        shard: &str,
        listen: impl FnOnce(ProxyBuilder) -> ProxyBuilder,
        answer: F,
    ) -> Self
    where
        F: Fn(FakeCall) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let (scratch, layout) = (Arc::new(Scratch::new()), Layout::single());
        let fake = FakeShard::start(answer).await;
        let name = layout.shard_of("rest");
        let builder =
            ProxyBuilder::new("proxy", layout).shard(name, vec![fake.endpoint()]).shard_extra(name, shard);
        let builder = builder.without_fences();
        let proxy = listen(builder).start(&scratch).await;
        Self { proxy, _shard: fake, _scratch: scratch }
    }

    /// As it comes.
    pub(crate) async fn plain<F, A>(answer: F) -> Self
    where
        F: Fn(FakeCall) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::start("", |builder| builder, answer).await
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> String {
        self.proxy.endpoint().replace("http://", "")
    }

    pub(crate) async fn connect(&self) -> RawConnection {
        RawConnection::connect(&self.address()).await
    }
}
