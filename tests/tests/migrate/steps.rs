//! The steps of a migration from `a` to `b`, each known by the request that takes it.

use etcd_prism_tests::tripwire::{Mark, Trail};

/// A step, and the operator's verb in which it comes.
#[derive(Debug)]
pub struct Step {
    pub name: &'static str,
    pub verb: Verb,
    /// The last mark is the step's own request, from the driving proxy.
    pub trail: Trail,
    /// Who rules while the step is under way: faults of the other shard must not be noticed by clients.
    pub rules: Rules,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Create,
    Switch,
    Complete,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Switch => "switch",
            Self::Complete => "complete",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    Source,
    /// Either, or nobody for a moment.
    Between,
    Target,
}

const fn on(server: &'static str, bytes: &'static [u8]) -> Mark {
    Mark { server: Some(server), bytes, times: 1 }
}

const IMPORTING: Mark = on("b", br#""state":"importing""#);
const COPYING: Mark = on("b", br#""phase":"copy""#);
const FOLLOWING: Mark = on("b", br#""phase":"follow""#);
/// A key's record is written with the key.
const APPLIED: Mark = on("b", b"prism/prov/pods/");
const PROGRESS: Mark = on("b", b"prism/progress/pods");
const SEALED: Mark = on("a", br#""state":"sealed""#);
const SESSIONS: Mark = on("a", b"prism/session0");
/// The fence with `keys_only`: the read is for the header.
const REVISION: Mark = on("a", b"prism/fence/pods\x40\x01");
const FLIPPING: Mark = on("a", br#""state":"flipping""#);
const RETIRED: Mark = on("a", br#""state":"retired""#);
const COMPLETED: Mark = on("b", br#""phase":"completed""#);

const fn step(name: &'static str, verb: Verb, rules: Rules, trail: Trail) -> Step {
    Step { name, verb, trail, rules }
}

use Rules::{Between, Source, Target};
use Verb::{Complete, Create, Switch};

/// In the order in which they come.
pub static STEPS: &[Step] = &[
    step("claim", Create, Source, &[on("a", br#""state":"open""#)]),
    step("import", Create, Source, &[IMPORTING]),
    step("purge", Create, Source, &[IMPORTING, PROGRESS]),
    step("raise", Create, Source, &[COPYING]),
    step("copy", Create, Source, &[COPYING, Mark { times: 100, ..APPLIED }]),
    step("copied", Create, Source, &[FOLLOWING]),
    step("follow", Create, Source, &[FOLLOWING, APPLIED]),
    step("prove", Switch, Source, &[on("b", b"prism/session0"), PROGRESS]),
    step("seal", Switch, Source, &[SEALED]),
    step("let go", Switch, Source, &[SEALED, SESSIONS]),
    step("read G", Switch, Source, &[SEALED, SESSIONS, REVISION]),
    step("catch up", Switch, Source, &[SEALED, REVISION, PROGRESS]),
    step("probe", Switch, Source, &[SEALED, REVISION, PROGRESS, on("b", b"prism/reign/pods/")]),
    step("decide", Switch, Between, &[FLIPPING]),
    step("flip", Switch, Between, &[FLIPPING, on("b", br#""state":"open""#)]),
    step("finish", Switch, Target, &[on("a", br#""state":"standby""#)]),
    step("want the end", Complete, Target, &[on("b", br#""want":"complete""#)]),
    step("retire", Complete, Target, &[RETIRED]),
    // The first deletes the progress, the second keys.
    step(
        "purge the source",
        Complete,
        Target,
        &[RETIRED, on("a", b"prism/progress/pods"), on("a", b"/pods/")],
    ),
    step("completed", Complete, Target, &[COMPLETED]),
    step(
        "relocate",
        Complete,
        Target,
        &[Mark { server: None, bytes: br#"{"format":1,"generation":"#, times: 1 }],
    ),
    step("unlink", Complete, Target, &[COMPLETED, on("b", br#""state":"open""#)]),
];

pub fn named(name: &str) -> &'static Step {
    STEPS.iter().find(|step| step.name == name).unwrap_or_else(|| panic!("no step {name}"))
}
