//! Proxies' own leases: to clients they do not exist.

use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, LeaseLeasesRequest};
use etcd_prism_tests::wait;
use tonic::Code;

use crate::site::{
    NO_LEASE, ON, Site, code_and_text, grant, keep_alive, lock, put_leased, revoke, time_to_live,
};

#[tokio::test]
async fn session_leases_are_invisible_and_untouchable() {
    let site = Site::start().await;
    let client = site.proxies[0].client();
    let own = grant(&client, 600).await;
    for (shard, key) in ON {
        let direct = site.direct(shard);
        let all = direct.lease().lease_leases(LeaseLeasesRequest::default()).await.expect("a list");
        let sessions: Vec<i64> =
            all.into_inner().leases.iter().map(|l| l.id).filter(|id| *id != own).collect();
        assert_eq!(sessions.len(), 2, "one of each proxy");
        for id in sessions {
            // This proxy's own, and the other's, that it has heard of.
            for proxy in &site.proxies {
                let client = proxy.client();
                wait::until("the list without it", async || {
                    let all = client.lease().lease_leases(LeaseLeasesRequest::default()).await;
                    let all: Vec<i64> =
                        all.expect("a list").into_inner().leases.iter().map(|l| l.id).collect();
                    if all == [own] { Ok(()) } else { Err(all) }
                })
                .await;
                let before = time_to_live(&direct, id).await;
                assert!(before.ttl > 0 && before.keys.len() == 1, "{before:?}");
                let shown = time_to_live(&client, id).await;
                assert_eq!((shown.id, shown.ttl, shown.granted_ttl, shown.keys.len()), (id, -1, 0, 0));
                assert!(shown.header.expect("a header").revision > 0);
                let renewed = keep_alive(&client, id).await.expect("an answer");
                assert_eq!((renewed.id, renewed.ttl), (id, 0));
                assert!(renewed.header.expect("a header").revision > 0);
                let refused = revoke(&client, id).await.expect_err("a revoke");
                assert_eq!(code_and_text(&refused), NO_LEASE);
                let request = LeaseGrantRequest { id, ttl: 60 };
                let exists = client.lease().lease_grant(request).await.expect_err("a grant");
                let text = "etcdserver: lease already exists";
                assert_eq!(code_and_text(&exists), (Code::FailedPrecondition, text));
                let refused = put_leased(&client, key, id).await.expect_err("a key under it");
                assert_eq!(code_and_text(&refused), NO_LEASE);
                let refused = lock(&client, key, id).await.expect_err("a lock under it");
                assert_eq!(code_and_text(&refused), (Code::Unknown, NO_LEASE.1));
                let after = time_to_live(&direct, id).await;
                assert_eq!((after.granted_ttl, after.keys), (before.granted_ttl, before.keys));
            }
        }
    }
}
