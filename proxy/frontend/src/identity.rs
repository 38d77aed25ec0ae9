//! The ids that every reply carries.

use bytes::Bytes;
use etcd_prism_wire::patch;
use sha2::{Digest, Sha256};

/// A member as `MemberList` tells it: one per proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub client_url: String,
}

/// Who we are to clients. The cluster id depends on the configured cluster name only, so all proxies of a cluster agree on
/// it without talking to each other, and it survives restarts and changes of shards (some clients reconnect for ever when
/// it is 0 or changes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub cluster_id: u64,
    /// This proxy: the first advertised member.
    pub member_id: u64,
    pub members: Vec<Member>,
    /// Appended to every unary reply and watch response.
    pub header_patch: Bytes,
}

impl Identity {
    /// `advertise`: client URLs of all proxies, our own first.
    pub fn new(cluster_name: &str, advertise: &[String]) -> Self {
        let cluster_id = id_of(&["cluster", cluster_name]);
        let members: Vec<Member> = advertise
            .iter()
            .map(|url| Member {
                id: id_of(&["member", cluster_name, url]),
                name: format!(
                    "etcd-prism-{}",
                    url.split("://").last().unwrap_or(url).replace(['/', ':'], "-")
                ),
                client_url: url.clone(),
            })
            .collect();
        let member_id = members.first().map_or(cluster_id, |m| m.id);
        let header_patch = patch::header(cluster_id, member_id).into_bytes();
        Self { cluster_id, member_id, members, header_patch }
    }
}

/// A stable id that is never 0.
fn id_of(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut id = [0u8; 8];
    id.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(id).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_of_one_cluster_agree() {
        let a = Identity::new("c", &["http://a:2379".into(), "http://b:2379".into()]);
        let b = Identity::new("c", &["http://b:2379".into(), "http://a:2379".into()]);
        assert_eq!(a.cluster_id, b.cluster_id);
        assert_eq!(a.members[1].id, b.member_id);
        assert_ne!(a.member_id, b.member_id);
        assert_ne!(Identity::new("d", &[]).cluster_id, a.cluster_id);
    }
}
