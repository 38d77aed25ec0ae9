//! Whether every proxy has let go of a sealed route.

use crate::id::ProxyId;
use crate::value::{Session, ValueError};

/// A list of the sessions at a shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionList {
    /// Of the list's reply header.
    pub revision: i64,
    pub sessions: Vec<(ProxyId, Result<Session, ValueError>)>,
}

/// What a list says of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Drained {
    /// Nobody serves the route under an older epoch any more, and nobody will.
    Yes,
    /// The list is older than the seal: a session that it lacks may have read the fence before it was sealed.
    TooOld,
    /// These have not acknowledged: wait for them, or for their sessions to end. With their names, as far as readable.
    Waiting(Vec<(ProxyId, String)>),
}

/// Reads a list of sessions for the seal of `route` with mod revision `seal`.
///
/// An acknowledgement counts only if it names this seal: one of an earlier seal says nothing about the time between. A
/// session that is younger than the list reads the fence after it was registered, so it finds the seal.
pub fn drained(list: &SessionList, route: &str, seal: i64) -> Drained {
    if list.revision < seal {
        return Drained::TooOld;
    }
    let waiting: Vec<(ProxyId, String)> = list
        .sessions
        .iter()
        .filter_map(|(proxy, session)| match session {
            Ok(session) if session.acks.get(route) == Some(&seal) => None,
            Ok(session) => Some((*proxy, session.name.clone())),
            Err(error) => Some((*proxy, error.to_string())),
        })
        .collect();
    if waiting.is_empty() { Drained::Yes } else { Drained::Waiting(waiting) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::value::PROTOCOL;

    fn list(revision: i64, acks: &[Option<i64>]) -> SessionList {
        let session = |(i, ack): (usize, &Option<i64>)| {
            let acks = ack.iter().map(|s| ("pods".to_owned(), *s)).collect::<BTreeMap<_, _>>();
            let name = format!("p{i}");
            let revisions = BTreeMap::new();
            let session =
                Session { protocol: PROTOCOL, name, address: String::new(), started: 0, acks, revisions };
            (ProxyId(i as u128), Ok(session))
        };
        SessionList { revision, sessions: acks.iter().enumerate().map(session).collect() }
    }

    #[test]
    fn ce04_only_an_acknowledgement_of_this_seal_counts() {
        assert_eq!(drained(&list(12, &[Some(10), Some(10)]), "pods", 10), Drained::Yes);
        assert_eq!(drained(&list(10, &[]), "pods", 10), Drained::Yes);
        for other in [None, Some(9), Some(11)] {
            let expected = Drained::Waiting(vec![(ProxyId(1), "p1".into())]);
            assert_eq!(drained(&list(12, &[Some(10), other]), "pods", 10), expected);
        }
        assert!(matches!(drained(&list(12, &[Some(10)]), "leases", 10), Drained::Waiting(_)));
    }

    #[test]
    fn ce04_a_list_from_before_the_seal_says_nothing() {
        assert_eq!(drained(&list(9, &[]), "pods", 10), Drained::TooOld);
    }

    #[test]
    fn a_session_that_cannot_be_read_has_not_acknowledged() {
        let error = ValueError::Format { what: "session", found: 2 };
        let list = SessionList { revision: 12, sessions: vec![(ProxyId(1), Err(error))] };
        assert!(matches!(drained(&list, "pods", 10), Drained::Waiting(_)));
    }
}
