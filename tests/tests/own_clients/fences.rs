//! Fences that a test moves by hand.

use etcd_prism_ownership::keys;
use etcd_prism_ownership::value::{Claim, Fence, Session, State, Stored};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::request::{get, list, put};
use etcd_prism_tests::wait;

/// A route's fence, as it is.
pub(crate) async fn fence(shard: &Client, route: &str) -> Fence {
    let found = shard.kv().range(get(&keys::fence(route))).await.expect("a read").into_inner();
    Fence::decode(&found.kvs[0].value).expect("a fence")
}

/// Writes the fence, so that it is raised whatever it says.
pub(crate) async fn raise(shard: &Client, route: &str, fence: &Fence) {
    let value = fence.encode().expect("a value");
    shard.kv().put(put(&keys::fence(route), &value)).await.expect("a write");
}

/// As whoever moves the route leaves it before the switch.
pub(crate) fn sealed(fence: &Fence) -> Fence {
    Fence { state: State::Sealed { peer: None, claim: Some(Claim(1)) }, ..fence.clone() }
}

/// Seals a route, and waits until every proxy that has a session there has said that it knows. Returns the fence as it was.
pub(crate) async fn seal(shard: &Client, route: &str) -> Fence {
    let open = fence(shard, route).await;
    raise(shard, route, &sealed(&open)).await;
    let found = shard.kv().range(get(&keys::fence(route))).await.expect("a read").into_inner();
    let seal = found.kvs[0].mod_revision;
    wait::until("every acknowledgement", async || {
        let sessions = shard.kv().range(list(b"\xffprism/session/")).await.expect("a list").into_inner();
        let acks = |value: &[u8]| Session::decode(value).expect("a session").acks.get(route).copied();
        let acks: Vec<_> = sessions.kvs.iter().map(|kv| acks(&kv.value)).collect();
        if !acks.is_empty() && acks.iter().all(|ack| *ack == Some(seal)) { Ok(()) } else { Err(acks) }
    })
    .await;
    open
}
