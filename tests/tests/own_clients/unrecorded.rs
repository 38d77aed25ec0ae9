//! Shards whose user has no rights on the proxy's own keys.

use etcd_prism_tests::auth;
use etcd_prism_tests::etcd::EtcdBuilder;
use etcd_prism_tests::request::put;
use tonic::Code;

use crate::site::{NO_LEASE, ON, Site, code_and_text, grant, keep_alive, put_leased, revoke, time_to_live};

/// No shard remembers where a lease is, so each proxy goes by what it sees: leases come to a second shard, and end.
#[tokio::test]
async fn without_records_leases_live_on_several_shards() {
    let protect = async |shard| auth::protect(&shard, &[("prism", &["keys"])]).await;
    let site = Site::start_protected(EtcdBuilder::new, protect).await;
    let [(_, on_a), (_, on_b)] = ON;
    let [one, two] = site.clients();
    one.kv().put(put(on_a, "x")).await.expect("a write");
    let lease = grant(&one, 600).await;
    put_leased(&one, on_a, lease).await.expect("a leased key");
    put_leased(&two, on_b, lease).await.expect("a write on the other shard");
    assert_eq!(keep_alive(&one, lease).await.expect("an answer").ttl, 600);
    assert_eq!(time_to_live(&one, lease).await.keys, [on_b, on_a]);
    revoke(&two, lease).await.expect("a revoke");
    for client in [&one, &two] {
        let gone = put_leased(client, on_b, lease).await.expect_err("a lease that is gone");
        assert_eq!(code_and_text(&gone), NO_LEASE);
        assert_eq!(keep_alive(client, lease).await.expect("an answer").ttl, 0);
    }
    let again = revoke(&one, lease).await.expect_err("a lease that is gone");
    assert_eq!(again.code(), Code::NotFound);
}
