//! `/version`.

use serde::Serialize;

use crate::version;
use crate::view::ShardView;

/// etcd's `version.Versions`; kubeadm reads the first two.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Versions {
    etcdserver: String,
    etcdcluster: String,
    storage: String,
}

/// The lowest versions of all shards; `None` until every shard was contacted once.
pub(crate) fn of(shards: &[ShardView]) -> Option<Versions> {
    if shards.iter().any(|s| !s.contacted()) {
        return None;
    }
    let every = || shards.iter().flat_map(|s| &s.members).filter_map(|m| m.status());
    let server = version::lowest(every().map(|s| s.version.as_str()))?;
    let storage = version::lowest(every().map(|s| s.storage_version.as_str())).filter(|v| !v.is_empty());
    Some(Versions {
        etcdserver: server.to_owned(),
        // As etcd says while a cluster has not agreed on its version yet, and while it does not tell that of its storage.
        etcdcluster: version::cluster(server).unwrap_or_else(|| "not_decided".to_owned()),
        storage: storage.unwrap_or("unknown").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::testing::{member, shard, status, unknown};

    fn check(shards: &[ShardView], expected: Option<&str>) {
        let json = of(shards).map(|v| serde_json::to_string(&v).unwrap());
        assert_eq!(json.as_deref(), expected);
    }

    #[test]
    fn the_lowest() {
        let a = shard("a", vec![member(status(1, "3.7.1", 1)), member(status(2, "3.6.8", 1))]);
        let mut old = status(3, "3.5.24", 1);
        old.storage_version = String::new();
        let old = shard("b", vec![member(old)]);
        check(
            std::slice::from_ref(&a),
            Some(r#"{"etcdserver":"3.6.8","etcdcluster":"3.6.0","storage":"3.6.0"}"#),
        );
        check(
            &[a.clone(), old],
            Some(r#"{"etcdserver":"3.5.24","etcdcluster":"3.5.0","storage":"unknown"}"#),
        );
        check(&[a, unknown("b")], None);
    }
}
