//! Runs a model and prints what was explored.

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Explores everything and asserts every property. Returns the number of states.
pub fn holds<M>(name: &str, model: M) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let begun = Instant::now();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("{name}: {states} states, depth {}, {:.1?}", checker.max_depth(), begun.elapsed());
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        let holds = found.is_some() == (property.expectation == Expectation::Sometimes);
        println!("  {} {:?}: {}", if holds { "✓" } else { "✗" }, property.expectation, property.name);
        if let (false, Some(path)) = (holds, found) {
            print_path(&path.into_vec());
        }
    }
    checker.assert_properties();
    states
}

/// Asserts that the checker finds a counter-example to this property. Returns its length.
pub fn breaks<M>(name: &str, model: M, property: &'static str) -> usize
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let begun = Instant::now();
    let stop = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(stop).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(property) else {
        panic!("{name}: {states} states, and no counter-example to \"{property}\"");
    };
    let steps = path.into_actions();
    println!(
        "{name}: \"{property}\" falls after {} steps ({states} states, {:.1?})",
        steps.len(),
        begun.elapsed()
    );
    steps.iter().for_each(|step| println!("  {step:?}"));
    steps.len()
}

fn print_path<S: Debug, A: Debug>(path: &[(S, Option<A>)]) {
    path.iter().filter_map(|(_, action)| action.as_ref()).for_each(|action| println!("    {action:?}"));
    if let Some((last, _)) = path.last() {
        println!("    {last:#?}");
    }
}
