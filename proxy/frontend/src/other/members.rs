//! Cluster.MemberList: the proxies, so that a client that syncs its endpoints stays with them.

use etcd_prism_proto::etcdserverpb::{Member, MemberListResponse};

use crate::gateway::Gateway;
use crate::identity::{self, Identity};
use crate::view;

pub fn list(gateway: &Gateway) -> MemberListResponse {
    MemberListResponse {
        header: Some(view::header(&view::home(gateway))),
        members: members(&gateway.identity),
    }
}

fn members(identity: &Identity) -> Vec<Member> {
    let member = |m: &identity::Member| Member {
        id: m.id,
        name: m.name.clone(),
        peer_ur_ls: Vec::new(),
        client_ur_ls: vec![m.client_url.clone()],
        is_learner: false,
    };
    identity.members.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxies() {
        let identity = Identity::new("c", &["https://a:2379".to_owned(), "https://b:2379".to_owned()]);
        let members = members(&identity);
        assert_eq!(
            members.iter().map(|m| &m.client_ur_ls[0]).collect::<Vec<_>>(),
            ["https://a:2379", "https://b:2379"]
        );
        // The member that answers is the one that Status calls the leader.
        assert_eq!(members[0].id, identity.member_id);
        assert!(members.iter().all(|m| m.peer_ur_ls.is_empty() && !m.is_learner && !m.name.is_empty()));
    }
}
