//! The records of reigns on one shard, as far as they were seen.

use std::collections::BTreeMap;

use etcd_prism_ownership::value::{ReignRecord, ValueError};

/// A record as it is read.
pub(crate) type Record = Result<ReignRecord, ValueError>;

/// By route and number of the reign. Reads and events come in any order: of two the later one counts.
#[derive(Debug, Default)]
pub(crate) struct Reigns {
    seen: BTreeMap<(String, u64), Seen>,
    read_at: i64,
}

#[derive(Debug)]
struct Seen {
    /// When the record was written or, where there is none, when it was known to be gone.
    revision: i64,
    /// `None`: somebody deleted it.
    record: Option<Record>,
}

impl Reigns {
    /// The record of a reign with its own mod revision; `None` if there is none, or none has been seen.
    pub(crate) fn get(&self, route: &str, n: u64) -> Option<(i64, &Record)> {
        let seen = self.seen.get(&(route.to_owned(), n))?;
        Some((seen.revision, seen.record.as_ref()?))
    }

    /// The latest revision at which all records were read; 0 before the first time.
    pub(crate) fn read_at(&self) -> i64 {
        self.read_at
    }

    /// Takes all records of the shard, as read at a revision.
    pub(crate) fn read(&mut self, revision: i64, records: &BTreeMap<(String, u64), (i64, Record)>) {
        for ((route, n), (written, record)) in records {
            self.event(route, *n, *written, Some(record));
        }
        for (reign, seen) in &mut self.seen {
            if seen.revision <= revision && !records.contains_key(reign) {
                *seen = Seen { revision, record: None };
            }
        }
        self.read_at = self.read_at.max(revision);
    }

    /// Takes what became of one record at a revision; `None`: it was deleted.
    pub(crate) fn event(&mut self, route: &str, n: u64, revision: i64, record: Option<&Record>) {
        let reign = (route.to_owned(), n);
        if self.seen.get(&reign).is_some_and(|seen| seen.revision >= revision) {
            return;
        }
        self.seen.insert(reign, Seen { revision, record: record.cloned() });
    }
}

#[cfg(test)]
mod tests {
    use etcd_prism_ownership::ShardUid;

    use super::*;

    fn floor(reigns: &Reigns) -> Option<i64> {
        reigns.get("pods", 1).and_then(|(_, record)| record.as_ref().ok()).map(|record| record.floor)
    }

    fn record(floor: i64) -> Record {
        Ok(ReignRecord { n: 1, shard: ShardUid(1), after: floor, floor, since: 0, earlier: Vec::new() })
    }

    #[test]
    fn of_reads_and_events_the_later_one_counts() {
        let at = |written, floor| BTreeMap::from([(("pods".to_owned(), 1), (written, record(floor)))]);
        let mut reigns = Reigns::default();
        assert_eq!((floor(&reigns), reigns.read_at()), (None, 0));
        reigns.read(20, &at(9, 5));
        assert_eq!((floor(&reigns), reigns.read_at()), (Some(5), 20));
        // Deleted, after which an older read arrives.
        reigns.event("pods", 1, 30, None);
        reigns.read(25, &at(9, 5));
        assert_eq!((floor(&reigns), reigns.read_at()), (None, 25));
        // Written again, after which an older read arrives that knows of no record.
        reigns.event("pods", 1, 40, Some(&record(7)));
        reigns.read(35, &BTreeMap::new());
        assert_eq!(floor(&reigns), Some(7));
        // Deleted while nobody watched.
        reigns.read(50, &BTreeMap::new());
        assert_eq!(floor(&reigns), None);
        reigns.event("pods", 1, 40, Some(&record(7)));
        assert_eq!(floor(&reigns), None);
    }
}
