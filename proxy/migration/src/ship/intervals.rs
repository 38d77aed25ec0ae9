//! The keys of a route.

use etcd_prism_proto::etcdserverpb::RangeRequest;

/// Half-open intervals of keys, in order, none of them empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intervals(Box<[(Vec<u8>, Vec<u8>)]>);

/// The keys of a route are no intervals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the intervals of the route are empty, overlap or are not in order")]
pub struct NotIntervals;

impl Intervals {
    /// `(start, end)` of each, as of `Keyspace::intervals`.
    ///
    /// # Errors
    /// There is none, one is empty, or they are not in order.
    pub fn new(intervals: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Self, NotIntervals> {
        let in_order = intervals.windows(2).all(|pair| pair[0].1 <= pair[1].0);
        if intervals.is_empty() || !in_order || intervals.iter().any(|(start, end)| start >= end) {
            return Err(NotIntervals);
        }
        Ok(Self(intervals.into()))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(start, end)| (&start[..], &end[..]))
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        let at = self.0.partition_point(|(start, _)| &start[..] <= key);
        at.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, end)| key < &end[..])
    }

    /// From the first key to the end of the last interval.
    pub(crate) fn hull(&self) -> (&[u8], &[u8]) {
        let first = self.0.first().map_or(&b""[..], |(start, _)| start);
        (first, self.0.last().map_or(&b""[..], |(_, end)| end))
    }

    /// What is left of the first interval that reaches behind `from`; `None`: there is none.
    pub(crate) fn rest<'a>(&'a self, from: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let at = self.0.partition_point(|(_, end)| &end[..] <= from);
        self.0.get(at).map(|(start, end)| (from.max(start), &end[..]))
    }

    /// What is left of all of them.
    pub(crate) fn rests<'a>(&'a self, from: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let at = self.0.partition_point(|(_, end)| &end[..] <= from);
        self.0.iter().skip(at).map(move |(start, end)| (from.max(start), &end[..]))
    }
}

/// The first of all keys: etcd takes no empty one.
const FIRST: &[u8] = b"\0";

/// A linearizable read of the keys of a half-open interval.
pub(crate) fn range(start: &[u8], end: &[u8]) -> RangeRequest {
    RangeRequest { key: first(start), range_end: end.to_vec().into(), ..RangeRequest::default() }
}

/// A key that a range may begin with.
pub(crate) fn first(start: &[u8]) -> bytes::Bytes {
    if start.is_empty() { FIRST.into() } else { start.to_vec().into() }
}

/// The key after this one.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, b"\0"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Intervals {
        let pair = |start: &str, end: &str| (start.into(), end.into());
        Intervals::new(vec![pair("a", "a\0"), pair("c/", "c0")]).unwrap()
    }

    #[test]
    fn keys_of_each() {
        let two = two();
        for key in ["a", "c/", "c/x"] {
            assert!(two.contains(key.as_bytes()), "{key}");
        }
        for key in ["", "a\0", "b", "c", "c0", "d"] {
            assert!(!two.contains(key.as_bytes()), "{key}");
        }
        assert_eq!(two.hull(), (&b"a"[..], &b"c0"[..]));
    }

    #[test]
    fn what_is_left() {
        let two = two();
        assert_eq!(two.rest(b""), Some((&b"a"[..], &b"a\0"[..])));
        assert_eq!(two.rest(b"a\0"), Some((&b"c/"[..], &b"c0"[..])));
        assert_eq!(two.rest(b"c/k"), Some((&b"c/k"[..], &b"c0"[..])));
        assert_eq!(two.rest(b"c0"), None);
        assert_eq!(two.rests(b"").count(), 2);
        assert_eq!(two.rests(b"b").collect::<Vec<_>>(), [(&b"c/"[..], &b"c0"[..])]);
    }

    #[test]
    fn what_is_no_interval() {
        let pair = |start: &str, end: &str| (start.into(), end.into());
        for bad in [vec![], vec![pair("a", "a")], vec![pair("b", "c"), pair("a", "b")]] {
            assert_eq!(Intervals::new(bad), Err(NotIntervals));
        }
    }
}
