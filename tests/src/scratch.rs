//! A folder for one test's data and logs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "etcd-prism-tests-";

/// Removed when dropped; after a failure the logs stay, until the same machine runs the tests again.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    // Held for as long as the folder is in use: a folder whose lock is free belongs to a run that is over.
    _lock: File,
}

impl Scratch {
    /// A new folder, in memory where the machine has `/dev/shm`: etcd's write-ahead log is then never the bottleneck.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = [Path::new("/dev/shm"), &std::env::temp_dir()]
            .into_iter()
            .find(|path| path.is_dir())
            .map(Path::to_path_buf)
            .expect("a folder for temporary files");
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = base.join(name);
        // One creator or sweeper at a time, so that nobody sweeps a folder that is not locked yet.
        let gate = File::create(base.join(format!("{PREFIX}gate"))).expect("gate file");
        gate.lock().expect("lock on the gate file");
        sweep(&base);
        fs::create_dir_all(path.join("logs")).expect("scratch folder");
        let lock = File::create(path.join("lock")).expect("lock file");
        lock.lock().expect("lock on the scratch folder");
        Self { path, _lock: lock }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log file of the process `name`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// The data folder of the process `name`.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path.join("data").join(name)
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs of the failed test: {}", self.path.join("logs").display());
            fs::remove_dir_all(self.path.join("data")).ok();
        } else {
            fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// Removes what runs that are over have left behind.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let Ok(lock) = File::open(entry.path().join("lock")) else { continue };
        if is_ours && lock.try_lock().is_ok() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}
