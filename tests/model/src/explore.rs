//! Whether, from wherever a model has got to, it can still get somewhere: "eventually" in a world in which anybody may sleep
//! for ever.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use stateright::Model;

/// The whole graph of a model.
struct Graph<M: Model> {
    /// By state: where it was first reached from, and by which step.
    parents: Vec<Option<(u32, M::Action)>>,
    /// By state: who gets there.
    back: Vec<Vec<u32>>,
    goals: Vec<bool>,
}

/// Explores everything. Returns how many states there are and the steps to one from which no state with `goal` can be
/// reached by steps that `allowed` names, if there is one.
pub fn stuck<M>(
    model: &M,
    goal: impl Fn(&M::State) -> bool,
    allowed: impl Fn(&M::Action) -> bool,
) -> (usize, Option<Vec<M::Action>>)
where
    M: Model,
    M::State: Clone + Hash,
    M::Action: Clone,
{
    let graph = graph(model, goal, allowed);
    let mut good = graph.goals.clone();
    let mut queue: Vec<u32> = (0..good.len() as u32).filter(|i| good[*i as usize]).collect();
    while let Some(state) = queue.pop() {
        for from in &graph.back[state as usize] {
            if !good[*from as usize] {
                good[*from as usize] = true;
                queue.push(*from);
            }
        }
    }
    // States are numbered in the order of their distance.
    let bad = good.iter().position(|good| !good);
    (good.len(), bad.map(|state| path(&graph, state as u32)))
}

/// Asserts that there is no such state. Returns the number of states.
pub fn recovers<M>(
    name: &str,
    model: &M,
    goal: impl Fn(&M::State) -> bool,
    allowed: impl Fn(&M::Action) -> bool,
) -> usize
where
    M: Model,
    M::State: Clone + Hash,
    M::Action: Clone + Debug,
{
    let begun = Instant::now();
    let (states, found) = stuck(model, goal, allowed);
    println!("{name}: {states} states, {:.1?}", begun.elapsed());
    if let Some(path) = found {
        path.iter().for_each(|step| println!("    {step:?}"));
        panic!("{name}: stuck after {} steps", path.len());
    }
    states
}

fn graph<M>(model: &M, goal: impl Fn(&M::State) -> bool, allowed: impl Fn(&M::Action) -> bool) -> Graph<M>
where
    M: Model,
    M::State: Clone + Hash,
    M::Action: Clone,
{
    let mut graph = Graph { parents: Vec::new(), back: Vec::new(), goals: Vec::new() };
    let mut known: HashMap<u64, u32> = HashMap::new();
    let mut level: Vec<(u32, M::State)> = Vec::new();
    let mut add = |graph: &mut Graph<M>, state: &M::State, parent| -> (u32, bool) {
        let next = graph.parents.len() as u32;
        let number = *known.entry(hash(state)).or_insert(next);
        if number == next {
            graph.parents.push(parent);
            graph.back.push(Vec::new());
            graph.goals.push(goal(state));
        }
        (number, number == next)
    };
    for state in model.init_states() {
        let (number, new) = add(&mut graph, &state, None);
        if new {
            level.push((number, state));
        }
    }
    while !level.is_empty() {
        let mut next_level = Vec::new();
        for (number, state) in level {
            let mut actions = Vec::new();
            model.actions(&state, &mut actions);
            for action in actions {
                let counts = allowed(&action);
                let Some(next) = model.next_state(&state, action.clone()) else { continue };
                let (reached, new) = add(&mut graph, &next, Some((number, action)));
                if counts {
                    graph.back[reached as usize].push(number);
                }
                if new {
                    next_level.push((reached, next));
                }
            }
        }
        level = next_level;
    }
    graph
}

fn hash<T: Hash>(state: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn path<M: Model>(graph: &Graph<M>, mut state: u32) -> Vec<M::Action>
where
    M::Action: Clone,
{
    let mut steps = Vec::new();
    while let Some((parent, action)) = &graph.parents[state as usize] {
        steps.push(action.clone());
        state = *parent;
    }
    steps.reverse();
    steps
}
