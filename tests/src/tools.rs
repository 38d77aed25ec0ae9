//! Where the binaries are.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Which pinned etcd to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The oldest minor that is supported.
    V3_5,
    /// The newest pinned minor.
    #[default]
    Newest,
}

/// The etcd server. `ETCD_PRISM_ETCD` (`ETCD_PRISM_ETCD_3_5` for the old one) names another binary.
pub fn etcd(version: Version) -> PathBuf {
    static OLD: OnceLock<PathBuf> = OnceLock::new();
    static NEW: OnceLock<PathBuf> = OnceLock::new();
    match version {
        Version::V3_5 => OLD.get_or_init(|| tool("etcd@3.5", "ETCD_PRISM_ETCD_3_5")).clone(),
        Version::Newest => NEW.get_or_init(|| tool("etcd", "ETCD_PRISM_ETCD")).clone(),
    }
}

/// The newest etcdctl. `ETCD_PRISM_ETCDCTL` names another binary.
pub fn etcdctl() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| tool("etcdctl", "ETCD_PRISM_ETCDCTL")).clone()
}

/// The proxy: `ETCD_PRISM_BIN`, else the one in the build folder that this test runs from.
pub fn etcd_prism() -> PathBuf {
    if let Some(path) = std::env::var_os("ETCD_PRISM_BIN") {
        return PathBuf::from(path);
    }
    // A test runs from target/<profile>/deps, a binary from target/<profile>.
    let ours = std::env::current_exe().expect("path of this executable");
    let paths: Vec<_> = ours.ancestors().skip(1).take(2).map(|folder| folder.join("etcd-prism")).collect();
    let path = paths.iter().find(|path| path.is_file()).unwrap_or(&paths[0]).clone();
    assert!(
        path.exists(),
        "{} is missing: run 'cargo build -p etcd-prism' first, or set ETCD_PRISM_BIN",
        path.display()
    );
    path
}

pub(crate) fn tool(name: &str, variable: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/tool");
    let output = Command::new(&script)
        .arg(name)
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(output.status.success(), "scripts/tool {name} failed: {}", output.status);
    PathBuf::from(String::from_utf8(output.stdout).expect("a path in UTF-8").trim())
}
