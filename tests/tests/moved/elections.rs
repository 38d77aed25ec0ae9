//! Leaders stay leaders: their keys are compared by the revision that they were created at.

use etcd_prism_proto::etcdserverpb::LeaseGrantRequest;
use etcd_prism_proto::v3electionpb::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest};

use crate::rig::{PODS, Rig};

#[tokio::test]
async fn a_leader_is_known_by_its_revision_after_a_move() {
    let mut rig = Rig::start().await;
    let grant = LeaseGrantRequest { ttl: 60, id: 0 };
    let lease = rig.client.lease().lease_grant(grant).await.expect("a lease").into_inner().id;
    let name = [PODS, "lead"].concat();
    let request = CampaignRequest { name: name.clone().into(), lease, value: "one".into() };
    let leader = rig.client.election().campaign(request).await.expect("the lead").into_inner().leader;
    let leader = leader.expect("a key");
    let key = String::from_utf8_lossy(&leader.key).into_owned();
    rig.oracle.put(&key, b"one", lease, leader.rev);
    rig.move_to("b").await;

    let ask = LeaderRequest { name: name.clone().into() };
    let found = rig.client.election().leader(ask.clone()).await.expect("a leader").into_inner();
    let kv = found.kv.expect("a key");
    assert_eq!((kv.key, kv.create_revision, kv.version), (leader.key.clone(), leader.rev, 1));

    let proclaim = ProclaimRequest { leader: Some(leader.clone()), value: "two".into() };
    rig.client.election().proclaim(proclaim).await.expect("it leads");
    let kv =
        rig.client.election().leader(ask.clone()).await.expect("a leader").into_inner().kv.expect("a key");
    assert_eq!((&kv.value[..], kv.create_revision, kv.version), (&b"two"[..], leader.rev, 2));

    // Who comes later is younger.
    let client = rig.client.clone();
    let second = rig.client.lease().lease_grant(grant).await.expect("a lease").into_inner().id;
    let request = CampaignRequest { name: name.into(), lease: second, value: "three".into() };
    let waiting = tokio::spawn(async move { client.election().campaign(request).await });
    rig.client.election().resign(ResignRequest { leader: Some(leader.clone()) }).await.expect("it resigns");
    let next = waiting.await.expect("no panic").expect("the lead").into_inner().leader.expect("a key");
    assert!(next.rev > leader.rev);
    let kv = rig.client.election().leader(ask).await.expect("a leader").into_inner().kv.expect("a key");
    assert_eq!((&kv.value[..], kv.create_revision), (&b"three"[..], next.rev));
}
