//! Children that never outlive this process.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::BenchError;

/// Lines of its log that are shown of a child that failed.
const TAIL: usize = 12;

/// A running child. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with its output in a file of `folder`. Must be called on the main thread: the kernel kills the
    /// child when the thread that started it ends.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        args: &[OsString],
        folder: &Path,
    ) -> Result<Self, BenchError> {
        let failed = |cause| BenchError::io(format!("start {name} ({})", program.display()), cause);
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log).map_err(failed)?;
        // setpriv becomes the program, so that the process id is that of the program.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        // etcd takes flags from the environment, also those that were meant for others.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ETCD"))
        {
            command.env_remove(name);
        }
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(BenchError::Died {
                name: self.name.clone(),
                status: status.to_string(),
                log: self.log_tail(),
            }),
            Err(cause) => Err(BenchError::io(format!("wait for {}", self.name), cause)),
        }
    }

    /// The last lines that it printed.
    pub(crate) fn log_tail(&self) -> String {
        let text = match std::fs::read(&self.log) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => return format!("({}: {error})", self.log.display()),
        };
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("{} may still run (process {}): {error}", self.name, self.child.id());
        }
    }
}
