//! The data directory: who may use it, and what is where in it.

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::PlaygroundError;

/// A data directory that this process alone uses, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The kernel drops the lock with the process, so a crash leaves nothing to clean up.
    _lock: File,
}

// === impl DataDir ===

impl DataDir {
    /// Makes `path` if it is missing and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, PlaygroundError> {
        let failed = |cause| PlaygroundError::Path { path: path.to_owned(), cause };
        fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("playground.lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                lock.read_to_string(&mut pid).map_err(failed)?;
                return Err(PlaygroundError::Running { path, pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        // Who holds it, for the message above.
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The etcd data of a shard.
    pub(crate) fn shard(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the child `name` writes what it says.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}.log"))
    }

    /// Opens an empty log for the child `name`; what its last run wrote is kept as `<name>.previous.log`.
    pub(crate) fn new_log(&self, name: &str) -> Result<(PathBuf, File), PlaygroundError> {
        let path = self.log(name);
        let failed = |cause| PlaygroundError::Path { path: path.clone(), cause };
        if path.exists() {
            fs::rename(&path, self.path.join(format!("{name}.previous.log"))).map_err(failed)?;
        }
        let file = File::create(&path).map_err(failed)?;
        Ok((path, file))
    }

    /// Writes the configuration of the proxy `name` and returns its path.
    pub(crate) fn write_config(&self, name: &str, text: &str) -> Result<PathBuf, PlaygroundError> {
        let path = self.path.join(format!("{name}.toml"));
        fs::write(&path, text).map_err(|cause| PlaygroundError::Path { path: path.clone(), cause })?;
        Ok(path)
    }
}
