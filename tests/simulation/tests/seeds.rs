//! Many worlds, each in a process of its own.
//!
//! `SEEDS=10000 cargo test -p etcd-prism-simulation --test seeds` runs many, from `FIRST` on; `SEED=7` runs one and tells its
//! story. `SIMULATION_LOG=debug` adds what the proxies log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// How many worlds a usual run has.
const SEEDS: u64 = 50;

/// What decides the random numbers of a process. Built here, with the C compiler that Rust links with.
fn steady() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("steady.c");
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("steady-{}.so", std::process::id()));
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&built).arg(source);
        assert!(compiler.status().expect("a C compiler").success(), "{compiler:?}");
        built
    })
}

/// Lives through a seed: what it prints, and whether all was well.
fn live(seed: u64, story: bool) -> (String, bool) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_simulate"));
    process.arg(seed.to_string()).env("LD_PRELOAD", steady()).env("SIMULATION_SEED", seed.to_string());
    if story {
        process.env("SIMULATION_STORY", "yes");
    }
    let output = process.output().expect("the simulation");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[test]
fn nothing_is_lost_and_all_is_well_in_the_end() {
    if let Some(seed) = number("SEED") {
        let (text, is_well) = live(seed, true);
        println!("{text}");
        assert!(is_well);
        return;
    }
    let (first, count) = (number("FIRST").unwrap_or(1), number("SEEDS").unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return failed;
            }
            let (text, is_well) = live(seed, false);
            if !is_well {
                println!("{text}");
                println!("alone: SEED={seed} cargo test -p etcd-prism-simulation --test seeds nothing -- --nocapture");
                failed.push(seed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let failed: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
}

/// Otherwise a seed that fails could not be looked at again.
#[test]
fn the_same_seed_is_the_same_world() {
    let hash = |seed| {
        let (text, is_well) = live(seed, false);
        assert!(is_well, "{text}");
        text.split_whitespace().nth(3).expect("a hash").to_owned()
    };
    for seed in [1, 2, 3] {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
    }
    assert_ne!(hash(1), hash(2));
}
