//! kubectl, as users run it.

use std::path::PathBuf;
use std::process::Output;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::credentials::{Credentials, TOKEN};
use crate::process::{Process, Spec};
use crate::scratch::Scratch;
use crate::tools;

const LIMIT: Duration = Duration::from_secs(90);

/// kubectl with the flags that lead it to one API server.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    flags: Vec<String>,
    scratch: Arc<Scratch>,
}

impl Kubectl {
    pub(crate) fn new(address: &str, credentials: &Credentials, scratch: &Arc<Scratch>) -> Self {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let flags = vec![
            format!("--server=https://{address}"),
            format!("--certificate-authority={}", credentials.cert.display()),
            format!("--token={TOKEN}"),
            // What it remembers of the server is kept with the test's other files.
            format!("--cache-dir={}", scratch.data("kubectl").display()),
        ];
        let program = PROGRAM.get_or_init(|| tools::tool("kubectl", "ETCD_PRISM_KUBECTL")).clone();
        Self { program, flags, scratch: scratch.clone() }
    }

    /// Runs it to its end; its standard output. Panics where it fails.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        command.args(&self.flags).args(arguments).env("KUBECONFIG", "/dev/null").kill_on_drop(true);
        let output = timeout(LIMIT, command.output()).await;
        let output = output.unwrap_or_else(|_| panic!("kubectl {arguments:?} took longer than {LIMIT:?}"));
        let Output { status, stdout, stderr } = output.expect("start kubectl");
        assert!(status.success(), "kubectl {arguments:?}: {status}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Writes `objects` to a file and runs `kubectl ARGUMENTS -f FILE`.
    pub async fn run_on(&self, arguments: &[&str], objects: &[serde_json::Value]) -> String {
        let path = self.scratch.path().join("objects.json");
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&path, list.to_string()).expect("file of objects");
        let path = path.display().to_string();
        self.run(&[arguments, &["-f", &path]].concat()).await
    }

    /// Starts it in the background; its output is in the log of the process `name`.
    pub fn spawn(&self, name: &str, arguments: &[&str]) -> Process {
        let args =
            self.flags.iter().cloned().chain(arguments.iter().map(|&argument| argument.to_owned())).collect();
        let env = vec![("KUBECONFIG".to_owned(), "/dev/null".to_owned())];
        let program = self.program.clone();
        let spec = Spec { name: name.to_owned(), program, args, env, log: self.scratch.log(name) };
        Process::spawn(spec).expect("start kubectl")
    }
}
