//! The commands, as an operator runs them.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use etcd_prism_tests::tools;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::site::Site;

/// What a command printed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) success: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { success: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Starts `etcd-prism` with these arguments and a configuration file. It is killed when dropped.
pub(crate) fn start(args: &[&str], file: &Path) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(tools::etcd_prism()).args(args);
    command.arg("--config").arg(file).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("start etcd-prism")
}

pub(crate) async fn run(args: &[&str], file: &Path) -> Ran {
    start(args, file).wait_with_output().await.expect("etcd-prism").into()
}

const APPLY: &[&str] = &["route", "apply", "--yes", "--max-pause=20s"];

/// Makes the routes those of the file of `proxy`, which has to go well; what was printed.
pub(crate) async fn apply(site: &Site, proxy: &str) -> String {
    let ran = run(APPLY, &site.file_of(proxy)).await;
    assert!(ran.success && ran.out.contains("done: generation"), "{}{}", ran.out, ran.err);
    ran.out
}

/// Begins the same, and kills it (SIGKILL) at or shortly after its `n`th write. Whether it had not come to an end before.
pub(crate) async fn apply_and_die(site: &Site, proxy: &str, n: usize) -> bool {
    let mut driver = start(APPLY, &site.file_of(proxy));
    let mut lines = BufReader::new(driver.stdout.take().expect("standard output")).lines();
    let mut writes = 0;
    while writes < n {
        let Some(line) = lines.next_line().await.expect("what it prints") else { return false };
        writes += usize::from(line.starts_with('→'));
    }
    // Its request may be on its way, or answered, or not be sent yet.
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..15))).await;
    let ended = driver.try_wait().expect("its state").is_some();
    driver.kill().await.expect("an end");
    !ended
}
