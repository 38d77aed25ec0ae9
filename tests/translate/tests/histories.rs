//! Random histories of a route that moves between three stores, forth, back and on to the third.

use etcd_prism_translate::world::{Step, World};
use etcd_prism_translate::{Rules, Wrong};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn step() -> impl Strategy<Value = Step> {
    let write = || (0..5_u8, prop::bool::weighted(0.7));
    prop_oneof![
        14 => prop::collection::vec(write(), 1..3).prop_map(|mut changes| {
            // etcd refuses to change a key twice.
            changes.sort_unstable();
            changes.dedup_by_key(|change| change.0);
            Step::Write(changes)
        }),
        3 => (0..3_usize, 1..12_i64).prop_map(|(store, by)| Step::Foreign(store, by)),
        5 => (0..3_usize).prop_map(Step::Create),
        8 => any::<u16>().prop_map(|i| Step::Apply(i.into())),
        4 => (any::<u8>(), 0..6_i64).prop_map(|(order, drift)| Step::Switch { order: order.into(), drift }),
        4 => any::<bool>().prop_map(|guards| Step::Complete { guards }),
        1 => Just(Step::Compare),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..100)
}

fn run(rules: Rules, steps: &[Step]) -> Result<World, Wrong> {
    let mut world = World::new(rules);
    for step in steps {
        world.step(step)?;
    }
    world.check_compares()?;
    world.check_past()?;
    world.check_watches()?;
    Ok(world)
}

/// Runs histories, always the same, until one goes wrong; gives how many did not, and how it went.
fn histories(rules: Rules, cases: u32) -> (u32, [usize; 3], Option<Wrong>) {
    let mut runner = TestRunner::new_with_rng(
        Config { cases, failure_persistence: None, ..Config::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let mut reigns = [0; 3];
    for case in 0..cases {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        match run(rules, &steps) {
            Ok(world) => {
                let spans = world.timeline.reigns();
                let of = |shard| spans.iter().filter(|reign| reign.shard.0 == shard).count();
                reigns[0] += spans.len();
                reigns[1] += usize::from((0..3).any(|shard| of(shard) > 1));
                reigns[2] += usize::from((0..3).all(|shard| of(shard) > 0));
            }
            Err(wrong) => return (case, reigns, Some(wrong)),
        }
    }
    (cases, reigns, None)
}

/// 3,000 histories, the same at every run. What they contain is asserted too, so that they stay worth their time.
#[test]
fn all_of_them_look_like_one_etcd() {
    let (cases, [reigns, returns, all_three], wrong) = histories(Rules::default(), 3000);
    assert_eq!(wrong, None, "history {cases}");
    println!(
        "{cases} histories: {reigns} reigns, {returns} with a return, {all_three} over all three stores"
    );
    assert!(reigns > 9000 && returns > 1300 && all_three > 500, "{reigns} {returns} {all_three}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Others at every run; what fails is made small.
    #[test]
    fn any_looks_like_one_etcd(steps in steps()) {
        if let Err(wrong) = run(Rules::default(), &steps) {
            return Err(TestCaseError::fail(wrong));
        }
    }
}

/// With this rule broken, some history must look wrong soon.
fn is_noticed(rules: Rules) {
    let (cases, _, wrong) = histories(rules, 3000);
    let wrong = wrong.expect("nothing looks wrong");
    println!("after {cases} histories: {wrong}");
}

/// Counter-example 39: versions of a key on a store that ruled before.
#[test]
fn versions_need_a_base() {
    is_noticed(Rules { base: false, ..Rules::default() });
}

/// Counter-example 12: revisions from an earlier reign of the same store.
#[test]
fn raw_revisions_belong_to_the_span_that_holds_them() {
    is_noticed(Rules { span_by_shard: false, ..Rules::default() });
}

/// Counter-example 3, 30: where a reign begins.
#[test]
fn reigns_begin_behind_virtual_revisions() {
    is_noticed(Rules { virtual_g: false, ..Rules::default() });
}

/// Counter-example 40: provenance of another stint.
#[test]
fn provenance_belongs_to_a_reign() {
    is_noticed(Rules { cache_by_reign: false, ..Rules::default() });
}

/// Counter-example 11: half of a copy, read in the gap.
#[test]
fn the_gap_shows_no_copy() {
    is_noticed(Rules { gap_is_clamped: false, ..Rules::default() });
}

/// Counter-example 8: guards of raw revisions, over three stores.
#[test]
fn guards_order_by_virtual_revisions() {
    is_noticed(Rules { virtual_guards: false, ..Rules::default() });
}

/// A record that outlives its key counts writes that the next life never had.
#[test]
fn deletes_take_the_provenance_with_them() {
    is_noticed(Rules { deletes_take_provenance: false, ..Rules::default() });
}
