//! A migration in words.

use std::time::Duration;

use etcd_prism_ownership::migration::Phase;

use crate::plan::{Plan, Verdict};
use crate::shipping::Verified;
use crate::status::{History, Status};
use crate::verbs::{Done, Reply};

/// An answer for people, ending in a line feed.
pub fn render(reply: &Reply) -> String {
    match reply {
        Reply::Plan(plan) => render_plan(plan),
        Reply::Status(status) => render_status(status),
        Reply::History(history) => render_history(history),
        Reply::Done(done) => render_done(done),
        Reply::Verified(found) => render_verified(found),
        Reply::Aborted { text, pause_ms, .. } => match pause_ms {
            Some(ms) => format!("given up after {ms:.1} ms, everything is as before: {text}\n"),
            None => format!("not begun, everything is as before: {text}\n"),
        },
        Reply::Refused { text } => format!("{text}\n"),
    }
}

fn render_verified(found: &Verified) -> String {
    let left = match found.different {
        0 => "no difference".to_owned(),
        different => format!("{different} differ"),
    };
    let mut out = format!("{} keys compared: {left}\n", found.compared);
    out.extend(found.examples.iter().map(|line| format!("  {line}\n")));
    if found.repaired > 0 {
        out += &format!("{} had differed and were put right\n", found.repaired);
        out.extend(found.repaired_examples.iter().map(|line| format!("  {line}\n")));
    }
    out
}

fn render_plan(plan: &Plan) -> String {
    let mut out = format!("move route {} from {} to {}\n", plan.route, plan.from, plan.to);
    for check in &plan.checks {
        let mark = match check.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Warning => "warn",
            Verdict::NoGo => "NO  ",
        };
        out += &format!("  {mark}  {}: {}\n", check.name, check.text);
    }
    out + if plan.go() { "go\n" } else { "no go\n" }
}

fn render_done(done: &Done) -> String {
    let mut out = format!("{}\n", done.text);
    if let Some(ms) = done.pause_ms {
        out += &format!("requests were held for {ms:.1} ms\n");
        out.extend(done.steps.iter().map(|s| format!("  {:<28} {:>8.1} ms\n", s.step, s.ms)));
    }
    out
}

fn render_history(history: &History) -> String {
    let mut out = format!("route {}\n", history.route);
    out.extend(history.events.iter().map(|entry| format!("  {}  {}\n", moment(entry.at), entry.text)));
    out
}

/// The report of a migration: where it is or, at its end, how it went.
pub fn render_status(status: &Status) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("route", format!("{}, from {} to {}", status.route, status.source, status.target)),
        ("phase", phase(status)),
        ("owner", status.owner.clone().unwrap_or_else(|| "nobody at this moment".to_owned())),
    ];
    if !status.phase.is_over() {
        lines.push(("driver", status.driver.clone().unwrap_or_else(|| "nobody".to_owned())));
        lines.push(("lag", status.pace.lag.map_or_else(|| "unknown".to_owned(), revisions)));
    }
    let counts = &status.counts;
    lines.push(("copied", format!("{}, {}", keys(counts.keys, counts.expected_keys), bytes(counts.bytes))));
    if let (Some(keys), Some(of)) = (status.pace.keys_per_second, status.pace.bytes_per_second) {
        let eta = status.pace.eta_seconds.map_or_else(String::new, |s| format!(", {} left", span(s)));
        lines.push(("rate", format!("{keys:.0} keys/s, {}/s{eta}", bytes(of as u64))));
    }
    lines.push(("shipped", format!("{} events", counts.followed_events)));
    if counts.compared > 0 {
        lines.push(("compared", format!("{} keys", counts.compared)));
    }
    if counts.repaired > 0 {
        lines.push(("repaired", format!("{} keys", counts.repaired)));
    }
    lines.extend(status.step.iter().map(|step| ("step", step.clone())));
    lines.extend(status.waiting.iter().map(|why| ("waiting", why.clone())));
    lines.extend(status.last_abort.iter().map(|why| ("last abort", why.clone())));
    if !status.pauses.is_empty() {
        let each: Vec<String> = status.pauses.iter().map(|ms| format!("{ms} ms")).collect();
        lines.push(("pauses", each.join(", ")));
    }
    let timings = &status.timings;
    let times = [
        ("created", Some(timings.created)),
        ("all copied", timings.copied),
        ("compared at", timings.verified),
        ("switched", timings.switched),
        ("ended", timings.ended),
    ];
    lines.extend(times.into_iter().filter_map(|(name, at)| Some((name, moment(at?)))));
    lines.iter().map(|(name, text)| format!("{name:<12} {text}\n")).collect()
}

fn phase(status: &Status) -> String {
    let switched = status.owner.as_deref() == Some(&status.target);
    let text = match status.phase {
        _ if status.paused => "paused",
        Phase::Purge => "clearing the target",
        Phase::Copy => "copying",
        Phase::Follow if switched => "switched; the source follows",
        Phase::Follow if status.options.no_copy => "ready to switch; nothing is copied",
        Phase::Follow => "copied; the target follows",
        Phase::Cancelled => "cancelled",
        Phase::Completed => "completed",
    };
    text.to_owned()
}

fn keys(copied: u64, expected: u64) -> String {
    if expected == 0 { format!("{copied} keys") } else { format!("{copied} of about {expected} keys") }
}

fn revisions(lag: i64) -> String {
    if lag == 1 { "1 revision".to_owned() } else { format!("{lag} revisions") }
}

/// Such as `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Such as `3m 12s`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A moment in UTC, from milliseconds since the epoch.
fn moment(at: i64) -> String {
    let at = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or(0));
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(4 << 30), "4.0 GiB");
        assert_eq!([span(59), span(192), span(3_700)], ["59s", "3m 12s", "1h 1m"]);
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_comparison_says_what_it_put_right() {
        let found = Verified { compared: 9, ..Verified::default() };
        assert_eq!(render(&Reply::Verified(found.clone())), "9 keys compared: no difference\n");
        let (examples, repaired_examples) =
            (vec!["a is missing".to_owned()], vec!["b is missing".to_owned()]);
        let found = Verified { different: 1, examples, repaired: 1, repaired_examples, ..found };
        assert_eq!(
            render(&Reply::Verified(found)),
            "9 keys compared: 1 differ\n  a is missing\n1 had differed and were put right\n  b is missing\n"
        );
    }

    #[test]
    fn an_abort_before_the_seal_says_that_nothing_was_held() {
        let why = etcd_prism_ownership::migration::Abort::Asked;
        let reply = |pause_ms| Reply::Aborted { text: why.to_string(), why: why.clone(), pause_ms };
        assert!(render(&reply(None)).starts_with("not begun"));
        assert!(render(&reply(Some(12.34))).starts_with("given up after 12.3 ms"));
    }
}
