//! Finding the programs that the playground runs.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::PlaygroundError;

/// The etcd to run: the one given, else the first on the PATH.
pub(crate) fn etcd(given: Option<&Path>) -> Result<PathBuf, PlaygroundError> {
    let found = match given {
        Some(path) => is_program(path).then(|| path.to_owned()),
        None => on_path("etcd"),
    };
    absolute(
        &found
            .ok_or_else(|| PlaygroundError::NoEtcd { path: given.unwrap_or(Path::new("PATH")).to_owned() })?,
    )
}

/// The path as it means the same to setpriv, which looks a bare name up on the PATH.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, PlaygroundError> {
    std::path::absolute(path).map_err(|cause| PlaygroundError::Path { path: path.to_owned(), cause })
}

/// util-linux's setpriv, which ties a child's life to its parent's.
pub(crate) fn setpriv() -> Result<PathBuf, PlaygroundError> {
    on_path("setpriv").ok_or(PlaygroundError::NoProgram { program: "setpriv", package: "util-linux" })
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
