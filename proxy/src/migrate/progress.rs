//! `migrate status --watch`.

use std::process::ExitCode;

use etcd_prism_migration::report;
use etcd_prism_migration::status::Status;
use etcd_prism_migration::verbs::{Reply, Verb};

use super::{Proxy, TICK, code, flush, is_settled, is_terminal, print};
use crate::status::Output;

/// Width of the bar.
const BAR: u64 = 30;

/// Shows how a migration gets on until there is nothing more to see: a line that is written over on a terminal, a line for
/// each change elsewhere, an object a line as JSON.
pub(super) async fn watch(proxy: &Proxy, route: &str) -> anyhow::Result<ExitCode> {
    let mut shown = String::new();
    loop {
        let reply = etcd_prism_admin::migrate(&proxy.admin, route, &Verb::Status).await?;
        let Reply::Status(status) = &reply else {
            print(&reply, proxy.output)?;
            return Ok(code(&reply));
        };
        let line = match proxy.output {
            Output::Json => serde_json::to_string(status)?,
            Output::Table => line(status),
        };
        let over = proxy.output == Output::Table && is_terminal();
        if over {
            // To the beginning of the line, and away with what was there.
            print!("\r\u{1b}[K{line}");
            flush()?;
        } else if line != shown {
            println!("{line}");
        }
        shown = line;
        if is_settled(status) {
            if over {
                println!();
            }
            if proxy.output == Output::Table {
                print!("{}", report::render_status(status));
            }
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Such as `pods [######....] 40% 4000/10000 keys 500 keys/s 12s left, lag 3`.
fn line(status: &Status) -> String {
    let (keys, of) = (status.counts.keys, status.counts.expected_keys);
    let mut out = format!("{} ", status.route);
    match (keys.min(of) * 100).checked_div(of) {
        Some(percent) => {
            let done = (percent * BAR / 100) as usize;
            let bar = "#".repeat(done) + &".".repeat(BAR as usize - done);
            out += &format!("[{bar}] {percent}% {keys}/{of} keys");
        }
        None => out += &format!("{keys} keys"),
    }
    if let Some(rate) = status.pace.keys_per_second {
        out += &format!(" {rate:.0} keys/s");
    }
    if let Some(eta) = status.pace.eta_seconds {
        out += &format!(" {} left", report::span(eta));
    }
    out += &status.pace.lag.map_or_else(|| ", lag unknown".to_owned(), |lag| format!(", lag {lag}"));
    for text in status.step.iter().chain(&status.waiting) {
        out += &format!(", {text}");
    }
    out
}
