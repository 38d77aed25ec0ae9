//! Migrations: each rule is needed.

use etcd_prism_model::explore::stuck;
use etcd_prism_model::migrations::{
    ABOVE, Action, B, Budget, C, COPY, LOST, Migrations, STALE, Script, TWO_OPEN, Variant, World, create, to,
};
use etcd_prism_model::report::breaks;
use etcd_prism_ownership::migration::Goal;

fn prepared(variant: Variant, goals: &[&[Goal]], budget: Budget) -> Migrations {
    Migrations { prepared: true, ..Migrations::bare(variant, goals, budget) }
}

fn served(variant: Variant, goals: &[&[Goal]], writes: u8, budget: Budget) -> Migrations {
    Migrations { proxies: 1, writes, ..prepared(variant, goals, budget) }
}

fn switch() -> Vec<Goal> {
    vec![create(), to(B)]
}

#[test]
fn ce01_the_decision_does_not_move_the_epoch_on() {
    let budget = Budget { losses: 1, ..Budget::default() };
    let model = prepared(Variant::NoDecision, &[&switch(), &switch()], budget);
    breaks("ce01", model, TWO_OPEN);
}

#[test]
fn ce03_the_line_ends_at_the_seal() {
    let budget = Budget { ticks: 1, ..Budget::default() };
    breaks("ce03", served(Variant::EndsAtSeal, &[&switch()], 0, budget), ABOVE);
}

#[test]
fn ce04_any_acknowledgement_counts() {
    let goals = [create(), to(B), to(B)];
    let budget = Budget { aborts: 1, ..Budget::default() };
    breaks("ce04", served(Variant::AnyAcknowledgement, &[&goals], 0, budget), STALE);
}

#[test]
fn ce05_reconcile_goes_on_after_g() {
    let budget = Budget { expiries: 1, ..Budget::default() };
    breaks("ce05", served(Variant::Unbounded, &[&switch()], 1, budget), COPY);
}

#[test]
fn ce14_an_abort_needs_the_target() {
    let budget = Budget { outages: 1, ..Budget::default() };
    let model = prepared(Variant::AbortNeedsTarget, &[&switch()], budget);
    let model = Migrations { fragile: vec![B], ..model };
    let for_good = |action: &Action| !matches!(action, Action::Up(_));
    let (states, found) = stuck(&model, |w: &World| w.is_at_rest() || w.needs(B), for_good);
    println!("ce14: {states} states, stuck after {found:?}");
    assert!(found.is_some());
}

#[test]
fn ce29_any_later_epoch_of_the_target_reopens_the_owner() {
    let budget = Budget { crashes: 1, ..Budget::default() };
    breaks("ce29", prepared(Variant::AnyEpochReopens, &[&switch()], budget), TWO_OPEN);
}

#[test]
fn ce30_g_is_in_the_drivers_memory() {
    let goals = [create(), to(B), to(B)];
    let budget = Budget { aborts: 1, ..Budget::default() };
    breaks("ce30", served(Variant::RememberedG, &[&goals], 1, budget), LOST);
}

#[test]
#[ignore = "long"]
fn ce30_of_two_drivers_one_remembers_g() {
    let model = served(Variant::RememberedG, &[&switch(), &switch()], 1, Budget::default());
    breaks("ce30, two drivers", model, LOST);
}

#[test]
fn ce31_the_owner_does_not_say_where_the_route_goes() {
    let scripts = [B, C].map(|target| Script { source: 0, target, goals: vec![create(), to(target)] });
    let model = Migrations::bare(Variant::NoClaim, &[], Budget::default());
    breaks("ce31", Migrations { scripts: scripts.into(), revisions: vec![9, 2, 2], ..model }, TWO_OPEN);
}

#[test]
fn ce32_a_driver_takes_over_without_raising() {
    let budget = Budget { expiries: 1, ..Budget::default() };
    breaks("ce32", served(Variant::NoRaise, &[&[create()], &switch()], 1, budget), COPY);
}

#[test]
fn ce35_seals_delete_the_fence() {
    let goals = [create(), to(B), to(B)];
    let budget = Budget { losses: 1, aborts: 1, ..Budget::default() };
    breaks("ce35", served(Variant::SealDeletes, &[&goals], 1, budget), ABOVE);
}

#[test]
fn ce36_events_are_passed_on_without_a_session() {
    let budget = Budget { naps: 1, ..Budget::default() };
    breaks("ce36", served(Variant::EventsUnchecked, &[&switch()], 0, budget), ABOVE);
}

#[test]
fn a_sleeping_proxy_has_not_acknowledged_the_seal() {
    breaks("not drained", served(Variant::NotDrained, &[&switch()], 0, Budget::default()), STALE);
}

#[test]
fn g_is_read_before_the_acknowledgements() {
    let budget = Budget { ticks: 1, ..Budget::default() };
    breaks("early G", served(Variant::EarlyG, &[&switch()], 0, budget), ABOVE);
}

#[test]
fn the_owner_becomes_standby_before_the_flip_was_seen() {
    let budget = Budget { crashes: 1, ..Budget::default() };
    let model = prepared(Variant::FinishedBlindly, &[&switch()], budget);
    let (states, found) = stuck(&model, World::is_at_rest, |_| true);
    println!("finished blindly: {states} states, stuck after {found:?}");
    assert!(found.is_some());
}

#[test]
fn what_is_purged_and_what_is_copied_have_one_epoch() {
    let budget = Budget { pages: 1, ..Budget::default() };
    let model = served(Variant::PurgedUnderOneEpoch, &[&switch()], 1, budget);
    breaks("purged under one epoch", Migrations { prepared: false, leftover: true, ..model }, COPY);
}

#[test]
fn the_target_is_not_brought_to_g() {
    breaks("not caught up", served(Variant::NotCaughtUp, &[&switch()], 1, Budget::default()), COPY);
}

#[test]
fn keys_that_end_on_the_target_are_not_looked_for() {
    let budget = Budget { fades: 1, ..Budget::default() };
    breaks("ended unnoticed", served(Variant::EndedUnnoticed, &[&switch()], 1, budget), COPY);
}

#[test]
fn the_reign_begins_with_the_flip() {
    let budget = Budget { fades: 1, ..Budget::default() };
    breaks("begins with the flip", served(Variant::BeginsWithTheFlip, &[&switch()], 1, budget), COPY);
}
