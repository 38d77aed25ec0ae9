//! Many worlds, each in a process of its own.
//!
//! `SEEDS=10000 cargo test -p etcd-prism-simulation --test seeds` runs many, from `FIRST` on; `SEED=7` runs one and tells its
//! story. `SIMULATION_LOG=debug` adds what the proxies log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How many worlds a usual run has, beside those that are kept.
const SEEDS: u64 = 16;

/// Seeds that failed once, and what they had found. What a seed brings depends on every number that is drawn: after changes
/// to the simulation it may bring something else.
const KEPT: [(u64, &str); 4] = [
    (
        17,
        "checker: whoever abandons a shard writes the record of the reign again, which is no second beginning",
    ),
    (
        108,
        "host: a cancel while the owner's shard was away ended another migration, by the record of the one before",
    ),
    (
        455,
        "world: the operator's last verb, a create, was carried out while the end of all migrations was looked at",
    ),
    (633, "proxy: a driver died behind the record's end, and nobody unlinked the owner"),
];

/// What decides the random numbers of a process. Built here, with the C compiler that Rust links with.
fn steady() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("steady.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (new, built) =
            (folder.join(format!("steady-{}.so", std::process::id())), folder.join("steady.so"));
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&new).arg(source);
        let status = compiler
            .status()
            .unwrap_or_else(|e| panic!("needs a C compiler, cc or what CC names: {compiler:?}: {e}"));
        assert!(status.success(), "the C compiler cannot build a shared library: {compiler:?}");
        // Another run may be using it.
        std::fs::rename(new, &built).expect("a library in its place");
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
    let kept = KEPT.iter().map(|(seed, _)| *seed);
    let seeds: Vec<u64> = kept.chain(first..first + count).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (text, is_well) = live(seed, false);
            if !is_well {
                println!("{text}");
                println!(
                    "alone: SEED={seed} cargo test -p etcd-prism-simulation --test seeds nothing -- --nocapture"
                );
                for (_, found) in KEPT.iter().filter(|(kept, _)| *kept == seed) {
                    println!("what it had found: {found}");
                }
                failed.push(seed);
            }
        }
        failed
    };
    let threads = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let failed: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(failed.is_empty(), "{} of {} seeds failed: {failed:?}", failed.len(), seeds.len());
}

/// Otherwise a seed that fails could not be looked at again.
#[test]
fn the_same_seed_is_the_same_world() {
    let hash = |seed| {
        let (text, is_well) = live(seed, false);
        assert!(is_well, "{text}");
        text.split_whitespace().nth(3).expect("a hash").to_owned()
    };
    let all = [1, 2].map(|seed| {
        let first = hash(seed);
        assert_eq!(first, hash(seed), "seed {seed}");
        first
    });
    assert_ne!(all[0], all[1]);
}
