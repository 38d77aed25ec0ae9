//! What can be left out.

/// Rules that can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// As designed.
    Sound,
    /// 1: the decision does not move the owner's epoch on.
    NoDecision,
    /// 3: the line ends at the revision of the seal.
    EndsAtSeal,
    /// 4: an acknowledgement of an earlier seal counts for the next one.
    AnyAcknowledgement,
    /// 14: an abort needs the target.
    AbortNeedsTarget,
    /// 29: the owner is opened again once the target's epoch is above the one that was granted.
    AnyEpochReopens,
    /// 30: the flip takes G from its driver's memory; and nothing is raised.
    RememberedG,
    /// 31: the owner does not say where the route goes.
    NoClaim,
    /// 32: a driver that takes over does not raise the target's epoch.
    NoRaise,
    /// 35: seals delete the fence, so that mod revision 0 comes again.
    SealDeletes,
    /// 36: events are passed on without a session.
    EventsUnchecked,
    /// Nobody waits for acknowledgements.
    NotDrained,
    /// G is read before the acknowledgements.
    EarlyG,
    /// The owner becomes standby before anybody has seen the flip.
    FinishedBlindly,
    /// What is purged and what is copied have the same epoch.
    PurgedUnderOneEpoch,
    /// 5: reconcile goes on after G was read.
    Unbounded,
    /// The target is not brought to G.
    NotCaughtUp,
    /// Nobody looks whether keys have ended on the target by themselves.
    EndedUnnoticed,
    /// The next reign begins with the flip, not where the target was brought to G.
    BeginsWithTheFlip,
}
