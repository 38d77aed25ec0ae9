//! Campaign, Proclaim, Leader, Observe and Resign over two proxies.

use bytes::Bytes;
use etcd_prism_proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest,
};
use etcd_prism_tests::client::Client;
use etcd_prism_tests::wait;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::site::{Site, code_and_text, grant, revoke, until_waiting};

const NAMES: [&str; 2] = ["/registry/pods/election", "/registry/events/election"];

async fn campaign(client: &Client, name: &str, lease: i64, value: &str) -> Result<LeaderKey, Status> {
    let (name, value) = (Bytes::from(name.to_owned()), Bytes::from(value.to_owned()));
    let reply = client.election().campaign(CampaignRequest { name, lease, value }).await?.into_inner();
    Ok(reply.leader.expect("a leader"))
}

async fn proclaim(client: &Client, leader: &LeaderKey, value: &str) -> Result<(), Status> {
    let request = ProclaimRequest { leader: Some(leader.clone()), value: value.to_owned().into() };
    client.election().proclaim(request).await.map(drop)
}

async fn observe(client: &Client, name: &str) -> Streaming<LeaderResponse> {
    let request = LeaderRequest { name: name.to_owned().into() };
    client.election().observe(request).await.expect("a stream").into_inner()
}

async fn next(stream: &mut Streaming<LeaderResponse>) -> (Bytes, String) {
    let response = timeout(wait::DEADLINE, stream.message()).await.expect("a leader in time");
    let response = response.expect("a leader").expect("a stream that goes on");
    assert!(response.header.expect("a header").cluster_id != 0);
    let kv = response.kv.expect("a key");
    (kv.key, String::from_utf8(kv.value.to_vec()).expect("a text"))
}

/// Reads until the value; everything before it comes in the order of `values`.
async fn until(stream: &mut Streaming<LeaderResponse>, values: &[&str]) {
    let mut at = 0;
    let last = values.len() - 1;
    loop {
        let (_, value) = next(stream).await;
        let found = values[at..].iter().position(|v| *v == value);
        at += found.unwrap_or_else(|| panic!("{value} after {:?}", &values[..at]));
        if at == last {
            return;
        }
    }
}

#[tokio::test]
async fn leaders_follow_each_other_and_observers_see_it() {
    let site = Site::start().await;
    let [one, two] = site.clients();
    for name in NAMES {
        // Before there is any leader.
        let mut observers = [observe(&one, name).await, observe(&two, name).await];
        let none = one.election().leader(LeaderRequest { name: name.to_owned().into() }).await;
        let none = none.expect_err("nobody leads");
        assert_eq!(code_and_text(&none), (Code::Unknown, "election: no leader"));
        let lease = [grant(&one, 600).await, grant(&two, 600).await];
        let first = campaign(&one, name, lease[0], "first").await.expect("the lead");
        assert_eq!(first.key, format!("{name}/{:x}", lease[0]));
        for observer in &mut observers {
            assert_eq!(next(observer).await, (first.key.clone(), "first".to_owned()));
        }
        let client = two.clone();
        let second = tokio::spawn(async move { campaign(&client, name, lease[1], "second").await });
        until_waiting(&one, name, 2).await;
        // Through the other proxy.
        for value in ["p1", "p2", "p3"] {
            proclaim(&two, &first, value).await.expect("a new value");
        }
        for observer in &mut observers {
            until(observer, &["p1", "p2", "p3"]).await;
        }
        assert!(!second.is_finished());
        let resign = ResignRequest { leader: Some(first.clone()) };
        two.election().resign(resign).await.expect("a resignation");
        let second = second.await.expect("a task").expect("the lead");
        for observer in &mut observers {
            assert_eq!(next(observer).await, (second.key.clone(), "second".to_owned()));
        }
        let late = proclaim(&one, &first, "late").await.expect_err("it does not lead");
        assert_eq!(code_and_text(&late), (Code::Unknown, "election: not leader"));
        // One that begins now is told at once.
        assert_eq!(next(&mut observe(&two, name).await).await.1, "second");
        // A leader that ends with its lease, and comes back: the same key, told again.
        revoke(&one, lease[1]).await.expect("a revoke");
        let again = campaign(&one, name, lease[0], "again").await.expect("the lead");
        assert_eq!(again.key, first.key);
        for observer in &mut observers {
            assert_eq!(next(observer).await, (again.key.clone(), "again".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_candidate_that_goes_is_passed_over() {
    let site = Site::start().await;
    let [one, two] = site.clients();
    let name = NAMES[1];
    let lease = [grant(&one, 600).await, grant(&two, 600).await];
    let leader = campaign(&one, name, lease[0], "first").await.expect("the lead");
    let client = two.clone();
    let waits = tokio::spawn(async move { campaign(&client, name, lease[1], "second").await });
    until_waiting(&one, name, 2).await;
    waits.abort();
    assert_eq!(until_waiting(&one, name, 1).await[0].key, leader.key);
}

/// etcd calls it the leader, whose key is not there: nobody else sees it lead, and its proclamations fail.
#[tokio::test]
async fn a_session_that_ends_while_it_campaigns_does_not_win() {
    let site = Site::start().await;
    let [one, two] = site.clients();
    for name in NAMES {
        let lease = [grant(&one, 600).await, grant(&two, 600).await];
        let leader = campaign(&one, name, lease[0], "first").await.expect("the lead");
        let client = two.clone();
        let waits = tokio::spawn(async move { campaign(&client, name, lease[1], "second").await });
        until_waiting(&one, name, 2).await;
        revoke(&one, lease[1]).await.expect("a revoke");
        until_waiting(&one, name, 1).await;
        one.election().resign(ResignRequest { leader: Some(leader) }).await.expect("a resignation");
        let refused = waits.await.expect("a task").expect_err("its key is gone");
        assert_eq!(code_and_text(&refused), (Code::Unknown, "election: session is expired"));
        assert!(until_waiting(&two, name, 0).await.is_empty());
    }
}

#[tokio::test]
async fn observers_survive_their_shard_and_end_with_their_proxy() {
    let mut site = Site::start().await;
    site.expect_faults_of("b");
    let [one, two] = site.clients();
    let name = NAMES[1];
    let lease = grant(&one, 600).await;
    let leader = campaign(&one, name, lease, "before").await.expect("the lead");
    let mut observer = observe(&two, name).await;
    assert_eq!(next(&mut observer).await.1, "before");
    site.shard("b").restart().await;
    wait::until("a value", async || proclaim(&one, &leader, "after").await).await;
    // Told once, though the watch was lost and the leader read again.
    assert_eq!(next(&mut observer).await.1, "after");
    let status = site.proxies[1].stop().await;
    assert!(status.success(), "{status}");
    let end = timeout(wait::DEADLINE, observer.message()).await.expect("an end").expect_err("an error");
    assert_eq!(code_and_text(&end), (Code::Unavailable, "etcdserver: server stopped"));
}
