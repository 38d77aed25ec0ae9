//! Lives through seeds, one after the other: `simulate FIRST [COUNT]`. The tests run it, each seed in a process of its own.

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use etcd_prism_simulation::world::{Outcomes, live};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let first = arguments.next().expect("a seed");
    let count = arguments.next().unwrap_or(1);
    if let Ok(filter) = std::env::var("SIMULATION_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).init();
    }
    // A task that panics would only be missed.
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        std::process::exit(2);
    }));
    let mut failed = 0;
    for seed in first..first + count {
        let begun = Instant::now();
        let outcomes = alone(seed);
        println!(
            "seed {seed}: hash {:016x}, {:?} simulated in {:?}: {} writes, {} failed, {} reads, {} events, {} switches",
            outcomes.hash,
            outcomes.simulated,
            begun.elapsed(),
            outcomes.acknowledged,
            outcomes.failed,
            outcomes.reads,
            outcomes.events,
            outcomes.switches,
        );
        if outcomes.wrong.is_some() || std::env::var_os("SIMULATION_STORY").is_some() {
            outcomes.story.iter().for_each(|line| println!("  {line}"));
        }
        if let Some(wrong) = outcomes.wrong {
            println!("seed {seed} FAILED: {wrong}");
            failed += 1;
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// On a thread of its own, whose random numbers begin with it (`steady.c`): those that logging takes before change nothing.
fn alone(seed: u64) -> Outcomes {
    let lived = thread::spawn(move || live(seed)).join();
    lived.expect("a simulation that does not panic")
}
