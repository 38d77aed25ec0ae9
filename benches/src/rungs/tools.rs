//! Where the programs are.

use std::path::{Path, PathBuf};

use crate::cli::LadderOptions;
use crate::error::BenchError;
use crate::rungs::RungKind;
use crate::system::machine;

/// The programs of the rungs, where this machine has them.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) etcd: PathBuf,
    pub(crate) own: PathBuf,
    prism: Option<PathBuf>,
    nginx: Option<PathBuf>,
}

impl Tools {
    /// Only etcd must be there.
    pub(crate) fn find(options: &LadderOptions) -> Result<Self, BenchError> {
        let own = std::env::current_exe().map_err(|cause| BenchError::io("find this program", cause))?;
        let etcd = given_or(options.etcd.as_deref(), || on_path("etcd"));
        let prism = given_or(options.prism.as_deref(), || Some(own.with_file_name("etcd-prism")));
        let nginx = given_or(options.nginx.as_deref(), || on_path("nginx"));
        let missing = BenchError::Missing { name: "etcd", hint: "give its path with --etcd" };
        Ok(Self { etcd: etcd.ok_or(missing)?, own, prism, nginx })
    }

    /// The program that makes up this rung; `None` for the rung without one.
    ///
    /// # Errors
    ///
    /// Says what is missing when this machine does not have it.
    pub(crate) fn program(&self, rung: RungKind) -> Result<Option<&Path>, BenchError> {
        let missing = |name, hint| BenchError::Missing { name, hint };
        match rung {
            RungKind::Direct => Ok(None),
            RungKind::Splice | RungKind::Forward => Ok(Some(&self.own)),
            RungKind::GrpcProxy => Ok(Some(&self.etcd)),
            RungKind::Prism
            | RungKind::Unfenced
            | RungKind::Unmoved
            | RungKind::Copying
            | RungKind::Followed
            | RungKind::Switched
            | RungKind::Completed => {
                let hint = "build it in the same profile, or give its path with --prism";
                self.prism.as_deref().map(Some).ok_or_else(|| missing("etcd-prism", hint))
            }
            RungKind::Nginx => {
                let hint = "install it (Debian: nginx), or give its path with --nginx";
                self.nginx.as_deref().map(Some).ok_or_else(|| missing("nginx", hint))
            }
        }
    }

    /// What the rung's program says about its version.
    pub(crate) fn version(&self, rung: RungKind) -> Option<String> {
        let flag = if rung == RungKind::Nginx { "-v" } else { "--version" };
        match rung {
            RungKind::Direct => machine::version(&self.etcd, flag),
            _ => machine::version(self.program(rung).ok()??, flag),
        }
    }
}

fn given_or(given: Option<&Path>, default: impl FnOnce() -> Option<PathBuf>) -> Option<PathBuf> {
    let path = given.map(Path::to_path_buf).or_else(default)?;
    // The children run in a folder of their own.
    path.is_file().then(|| std::path::absolute(&path).unwrap_or(path))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
