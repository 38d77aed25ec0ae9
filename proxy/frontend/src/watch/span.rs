//! The reign that a leg is in, in numbers of its shard.

use etcd_prism_control::RouteLine;

/// What of a shard's line belongs to one reign of a route. First and last are raw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first revision that may be shown.
    first: i64,
    /// The last one; `None`: the reign is the present one.
    last: Option<i64>,
    /// What is added to a raw revision.
    offset: i64,
}

impl Span {
    pub(super) fn of(line: &RouteLine, reign: usize) -> Option<Self> {
        let offset = line.reign(reign)?.offset();
        let last = line.last(reign).map(|last| last.saturating_sub(offset));
        Some(Self { first: line.reign(reign)?.raw_start, last, offset })
    }

    #[cfg(test)]
    pub(super) fn ended(first: i64, last: i64) -> Self {
        Self { first, last: Some(last), offset: 100 }
    }

    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// Nothing is added to the reign any more.
    pub(super) fn is_ended(&self) -> bool {
        self.last.is_some()
    }

    /// A revision of the shard as far as it says anything of the reign: what comes behind the last is another's.
    pub(super) fn within(&self, raw: i64) -> i64 {
        self.last.map_or(raw, |last| raw.min(last))
    }

    /// Whether an event is one of the reign's.
    pub(super) fn holds(&self, raw: i64) -> bool {
        self.first <= raw && self.within(raw) == raw
    }

    /// Whether a client that has everything below `next` has everything of the reign.
    pub(super) fn is_over(&self, next: i64) -> bool {
        self.last.is_some_and(|last| next > last)
    }

    /// What clients are shown for a revision of the shard: that of the nearest one of the reign. 0 (none) stays 0.
    pub(super) fn shown(&self, raw: i64) -> i64 {
        match raw {
            0 => 0,
            _ => self.within(raw.max(self.first)).saturating_add(self.offset),
        }
    }

    /// A position on the route's line, which may lie behind the end of the reign.
    pub(super) fn up(&self, raw: i64) -> i64 {
        raw.saturating_add(self.offset)
    }

    /// The first revision of the shard at or behind a position on the route's line.
    pub(super) fn down(&self, shown: i64) -> i64 {
        shown.saturating_sub(self.offset).max(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw 10 to 20, shown as 110 to 120.
    const ENDED: Span = Span { first: 10, last: Some(20), offset: 100 };
    const PRESENT: Span = Span { first: 10, last: None, offset: 100 };

    #[test]
    fn a_reign_is_over_when_everything_up_to_its_last_revision_came() {
        assert!(!ENDED.is_over(20) && ENDED.is_over(21) && ENDED.is_over(400));
        assert!(!PRESENT.is_over(i64::MAX));
        assert!(ENDED.is_ended() && !PRESENT.is_ended());
    }

    #[test]
    fn what_came_before_and_after_is_not_of_the_reign() {
        let held: Vec<i64> = (8..24).filter(|raw| ENDED.holds(*raw)).collect();
        assert_eq!(held, (10..=20).collect::<Vec<_>>());
        assert!(!PRESENT.holds(9) && PRESENT.holds(i64::MAX));
    }

    #[test]
    fn nothing_outside_of_the_reign_is_shown() {
        for (raw, shown) in [(0, 0), (1, 110), (10, 110), (15, 115), (20, 120), (21, 120), (i64::MAX, 120)] {
            assert_eq!(ENDED.shown(raw), shown, "{raw}");
        }
        assert_eq!(PRESENT.shown(21), 121);
        assert_eq!(PRESENT.shown(3), 110);
    }

    #[test]
    fn positions_go_from_line_to_line() {
        let next = Span { first: 7, last: None, offset: 114 };
        // A start in the future when the reign ended stays where the client put it.
        assert_eq!(next.down(ENDED.up(40)), 26);
        // What was delivered lies before the next reign's beginning.
        assert_eq!(next.down(ENDED.up(21)), 7);
        assert_eq!(next.up(7), 121);
    }
}
