//! Changes of routes, and each rule that keeps them safe.

use etcd_prism_model::changes::{Changes, FLOOR, FOREIGN, TWO_OPEN, Tables, VANISHED, Variant};
use etcd_prism_model::report::{breaks, holds};
use etcd_prism_ownership::change::Goal;

fn apply(tables: &Tables) -> Goal {
    Goal::Apply(Tables::wanted(&tables.new))
}

/// One driver that may crash, and a proxy with the old table that writes.
fn old_writes(variant: Variant, tables: Tables) -> Changes {
    let (goals, may_stay) = (vec![apply(&tables)], tables.crosses());
    Changes { variant, tables, goals, mishaps: 1, writers: [true, false], may_stay }
}

/// The same with a proxy that has the new table.
fn new_writes(variant: Variant, tables: Tables) -> Changes {
    Changes { writers: [false, true], may_stay: false, ..old_writes(variant, tables) }
}

/// Both, and a driver that does not crash.
fn both_write(variant: Variant, tables: Tables) -> Changes {
    Changes { mishaps: 0, writers: [true, true], ..old_writes(variant, tables) }
}

/// A second driver that wants the same.
fn together(variant: Variant, tables: Tables) -> Changes {
    let goals = vec![apply(&tables), apply(&tables)];
    Changes { variant, tables, goals, mishaps: 1, writers: [false, false], may_stay: false }
}

/// A second driver that gives up whatever it finds.
fn against(variant: Variant, tables: Tables) -> Changes {
    let goals = vec![apply(&tables), Goal::GiveUp];
    Changes { variant, tables, goals, mishaps: 1, writers: [false, false], may_stay: true }
}

#[test]
fn split() {
    holds("changes, a route is split off, the old table writes", old_writes(Variant::Sound, Tables::split()));
    holds("changes, a route is split off, the new table writes", new_writes(Variant::Sound, Tables::split()));
    holds("changes, a route is split off, both write", both_write(Variant::Sound, Tables::split()));
}

#[test]
fn join() {
    holds("changes, a route ends, the old table writes", old_writes(Variant::Sound, Tables::join()));
    holds("changes, a route ends, the new table writes", new_writes(Variant::Sound, Tables::join()));
    holds("changes, a route ends, both write", both_write(Variant::Sound, Tables::join()));
}

#[test]
fn moved() {
    holds("changes, a route moves, the old table writes", old_writes(Variant::Sound, Tables::moved()));
    holds("changes, a route moves, the new table writes", new_writes(Variant::Sound, Tables::moved()));
    holds("changes, a route moves, both write", both_write(Variant::Sound, Tables::moved()));
}

#[test]
fn carved() {
    holds(
        "changes, a route is split off on its shard, the old table writes",
        old_writes(Variant::Sound, Tables::carved()),
    );
    holds(
        "changes, a route is split off on its shard, the new table writes",
        new_writes(Variant::Sound, Tables::carved()),
    );
    holds(
        "changes, a route is split off on its shard, both write",
        both_write(Variant::Sound, Tables::carved()),
    );
}

#[test]
fn two_drivers() {
    holds("changes, two drivers", together(Variant::Sound, Tables::split()));
}

#[test]
fn one_gives_up() {
    holds("changes, one gives up", against(Variant::Sound, Tables::split()));
}

#[test]
fn ce01_30_31_what_was_prepared_for_one_claim_counts_for_another() {
    breaks("ce01, ce30, ce31", against(Variant::AnyClaim, Tables::split()), TWO_OPEN);
}

#[test]
fn ce13_35_epochs_are_versions() {
    breaks("ce13, ce35", old_writes(Variant::EpochIsVersion, Tables::split()), FOREIGN);
}

#[test]
fn ce24_probed_before_the_seal() {
    breaks("ce24, probed early", old_writes(Variant::ProbedEarly, Tables::split()), VANISHED);
}

#[test]
fn ce25_fences_do_not_say_what_the_route_owns() {
    breaks("ce25", old_writes(Variant::NoDefinition, Tables::split()), FOREIGN);
}

#[test]
fn ce29_reopened_without_ending_the_claim() {
    breaks("ce29", against(Variant::ReopenedBlindly, Tables::split()), TWO_OPEN);
}

#[test]
fn a_route_that_stays_is_opened_as_it_was() {
    breaks("no floor", old_writes(Variant::NoFloor, Tables::join()), FLOOR);
}

#[test]
fn the_table_is_written_blindly() {
    breaks("blind table", against(Variant::BlindTable, Tables::split()), TWO_OPEN);
}
