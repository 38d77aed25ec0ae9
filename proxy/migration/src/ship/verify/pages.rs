//! Two lists of keys, compared.

use std::cmp::Ordering;

use etcd_prism_ownership::value::ProvenanceRecord;
use etcd_prism_proto::mvccpb::KeyValue;

use super::{Difference, Mismatch};

type Known<'a> = (&'a KeyValue, Option<ProvenanceRecord>);

/// What differs between the owner's keys and the standby's, both in order.
pub(super) fn differences(mut ours: &[Known<'_>], mut theirs: &[Known<'_>]) -> Vec<Mismatch> {
    let mut out = Vec::new();
    let mut found = |key: &KeyValue, difference| out.push(Mismatch { key: key.key.clone(), difference });
    loop {
        match (ours, theirs) {
            ([], []) => return out,
            ([(kv, record), rest @ ..], []) => {
                found(kv, missing(record.as_ref()));
                ours = rest;
            }
            ([], [(kv, _), rest @ ..]) => {
                found(kv, Difference::Extra);
                theirs = rest;
            }
            ([our, our_rest @ ..], [their, their_rest @ ..]) => match our.0.key.cmp(&their.0.key) {
                Ordering::Less => {
                    found(our.0, missing(our.1.as_ref()));
                    ours = our_rest;
                }
                Ordering::Greater => {
                    found(their.0, Difference::Extra);
                    theirs = their_rest;
                }
                Ordering::Equal => {
                    if let Some(difference) = difference(our, their) {
                        found(our.0, difference);
                    }
                    (ours, theirs) = (our_rest, their_rest);
                }
            },
        }
    }
}

fn missing(record: Option<&ProvenanceRecord>) -> Difference {
    record.map_or(Difference::Unreadable, |_| Difference::Missing)
}

fn difference(our: &Known<'_>, their: &Known<'_>) -> Option<Difference> {
    if our.1.is_none() {
        Some(Difference::Unreadable)
    } else if our.0.value != their.0.value {
        Some(Difference::Value)
    } else if our.0.lease != their.0.lease {
        Some(Difference::Lease)
    } else if our.1 != their.1 {
        Some(Difference::Numbers)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, value: &str, lease: i64) -> KeyValue {
        let [key, value] = [key, value].map(|text| text.as_bytes().to_vec().into());
        KeyValue { key, value, lease, ..KeyValue::default() }
    }

    #[test]
    fn every_difference_is_named() {
        let record = |version| Some(ProvenanceRecord { create_revision: 1, mod_revision: 2, version });
        let ours = [kv("a", "1", 0), kv("b", "1", 0), kv("c", "1", 7), kv("d", "1", 0), kv("f", "1", 0)];
        let theirs = [kv("b", "2", 0), kv("c", "1", 8), kv("d", "1", 0), kv("e", "1", 0), kv("f", "1", 0)];
        let ours: Vec<_> = ours.iter().map(|kv| (kv, record(1))).collect();
        let mut theirs: Vec<_> = theirs.iter().map(|kv| (kv, record(1))).collect();
        theirs[2].1 = record(2);
        let found = differences(&ours, &theirs);
        let found: Vec<_> = found.iter().map(|m| (m.key.escape_ascii().to_string(), m.difference)).collect();
        let expected = [
            ("a", Difference::Missing),
            ("b", Difference::Value),
            ("c", Difference::Lease),
            ("d", Difference::Numbers),
            ("e", Difference::Extra),
        ];
        assert_eq!(found, expected.map(|(key, difference)| (key.to_owned(), difference)));
        assert!(differences(&ours, &ours).is_empty());
    }
}
