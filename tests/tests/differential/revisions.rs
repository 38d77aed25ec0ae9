//! The order-preserving map from the reference's revisions to the subject's, for one route.

use std::collections::BTreeMap;

/// What has been seen of one route's line of revisions.
#[derive(Clone, Debug, Default)]
pub(crate) struct RevisionMap {
    // Revisions at which the route was written: strictly increasing on both sides.
    writes: BTreeMap<i64, i64>,
    // Header revisions of reads. The reference's may have moved on (another route was written) while the subject's has not,
    // so these only may not decrease; the value is the lowest and the highest seen for one revision of the reference.
    headers: BTreeMap<i64, (i64, i64)>,
}

impl RevisionMap {
    /// `reference` and `subject` are the revisions of one write.
    pub(crate) fn observe_write(&mut self, reference: i64, subject: i64) -> Result<(), String> {
        if let Some(known) = self.writes.get(&reference) {
            return require(*known == subject, || {
                format!("revision {reference} was {known} before and is {subject} now")
            });
        }
        let below = self.writes.range(..reference).next_back();
        let above = self.writes.range(reference..).next();
        let read_below = self.headers.range(..reference).next_back();
        let read_above = self.headers.range(reference..).next();
        require(below.is_none_or(|(_, known)| *known < subject), || {
            not_between("above", reference, subject, below)
        })?;
        require(above.is_none_or(|(_, known)| subject < *known), || {
            not_between("below", reference, subject, above)
        })?;
        require(read_below.is_none_or(|(_, (_, high))| *high < subject), || {
            not_between("above the header", reference, subject, read_below)
        })?;
        require(read_above.is_none_or(|(_, (low, _))| subject <= *low), || {
            not_between("at most the header", reference, subject, read_above)
        })?;
        self.writes.insert(reference, subject);
        Ok(())
    }

    /// `reference` and `subject` are the header revisions of one read, or of two that nothing was written between.
    pub(crate) fn observe_header(&mut self, reference: i64, subject: i64) -> Result<(), String> {
        let written = self.writes.range(..=reference).next_back();
        let unwritten = self.writes.range(reference + 1..).next();
        let below = self.headers.range(..reference).next_back();
        let above = self.headers.range(reference + 1..).next();
        require(written.is_none_or(|(_, known)| *known <= subject), || {
            not_between("at least the write", reference, subject, written)
        })?;
        require(unwritten.is_none_or(|(_, known)| subject < *known), || {
            not_between("below the write", reference, subject, unwritten)
        })?;
        require(below.is_none_or(|(_, (_, high))| *high <= subject), || {
            not_between("at least", reference, subject, below)
        })?;
        require(above.is_none_or(|(_, (low, _))| subject <= *low), || {
            not_between("at most", reference, subject, above)
        })?;
        let (low, high) = self.headers.entry(reference).or_insert((subject, subject));
        (*low, *high) = ((*low).min(subject), (*high).max(subject));
        Ok(())
    }

    /// The subject's revision for the reference's, where both are known to show the same.
    pub(crate) fn translate(&self, reference: i64) -> Option<i64> {
        self.writes.get(&reference).copied().or_else(|| self.headers.get(&reference).map(|(_, high)| *high))
    }

    /// The subject's revision from which on events are the same as from the reference's. A header that a read has shown
    /// will not do: the subject's may be that of the last event before it.
    pub(crate) fn translate_start(&self, reference: i64) -> Option<i64> {
        let write = self.writes.get(&reference).copied();
        write.or_else(|| self.translate(reference - 1).map(|revision| revision + 1))
    }

    /// The reference's revisions at which this route was written, oldest first.
    pub(crate) fn writes(&self) -> impl DoubleEndedIterator<Item = i64> + '_ {
        self.writes.keys().copied()
    }

    /// The reference's revisions that reads of this route have shown, oldest first.
    pub(crate) fn headers(&self) -> impl DoubleEndedIterator<Item = i64> + '_ {
        self.headers.keys().copied()
    }

    /// Forgets what lies so far back that nothing refers to it any more.
    pub(crate) fn forget_below(&mut self, reference: i64) {
        self.headers = self.headers.split_off(&reference);
    }
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn not_between(relation: &str, reference: i64, subject: i64, known: impl std::fmt::Debug) -> String {
    format!("revision {subject} for the reference's {reference} is not {relation} {known:?}")
}

mod tests {
    use super::RevisionMap;

    #[test]
    fn writes_keep_their_order_strictly() {
        let mut map = RevisionMap::default();
        map.observe_write(10, 4).unwrap();
        map.observe_write(10, 4).unwrap();
        map.observe_write(20, 7).unwrap();
        map.observe_write(15, 5).unwrap();
        for (reference, subject) in [(10, 5), (21, 7), (19, 5), (16, 7), (9, 4)] {
            assert!(map.observe_write(reference, subject).is_err(), "({reference}, {subject})");
        }
    }

    #[test]
    fn headers_lie_between_the_writes_around_them() {
        let mut map = RevisionMap::default();
        map.observe_write(10, 4).unwrap();
        map.observe_write(20, 7).unwrap();
        map.observe_header(12, 4).unwrap();
        map.observe_header(15, 6).unwrap();
        for (reference, subject) in [(12, 3), (12, 7), (14, 7), (16, 5), (25, 6)] {
            assert!(map.observe_header(reference, subject).is_err(), "({reference}, {subject})");
        }
        assert!(map.observe_write(16, 6).is_err(), "a write at a revision that a read has shown before");
        assert_eq!(map.translate(12), Some(4));
        assert_eq!(map.translate(13), None);
        let starts = [10, 11, 12, 13, 14].map(|start| map.translate_start(start));
        assert_eq!(starts, [Some(4), Some(5), None, Some(5), None]);
    }
}
