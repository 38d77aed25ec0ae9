//! A report as tables for people.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};

use etcd_prism_control::RouteState;

use crate::report::{Endpoint, Shard, StatusReport};

/// The whole report, ending in a line feed.
pub fn render(report: &StatusReport) -> String {
    let proxy = &report.proxy;
    let mut out = format!(
        "etcd-prism {}, up {}, cluster {}, member {}\n",
        proxy.version,
        duration(proxy.uptime_seconds),
        proxy.cluster_id,
        proxy.member_id
    );
    let tables = [routes(report), shards(&report.shards), endpoints(&report.shards)];
    for table in tables {
        out.push('\n');
        for line in table.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    if !report.warnings.is_empty() {
        out.push_str("\nWARNINGS\n");
        out.extend(report.warnings.iter().map(|warning| format!("- {warning}\n")));
    }
    out
}

fn routes(report: &StatusReport) -> Table {
    let mut table = table(&["ROUTE", "SHARD", "STATE", "EPOCH", "REIGN", "KEYS"], &[3, 4]);
    for route in &report.routes {
        let keys = if route.default { "everything else".to_owned() } else { route.prefixes.join("\n") };
        let owned = report.ownership.routes.iter().find(|owned| owned.name == route.name);
        let state = owned.map_or("-", |owned| match owned.state {
            RouteState::Served => "served",
            RouteState::Unfenced => "unfenced",
            RouteState::Waiting => "waiting",
            RouteState::Refused => "refused",
        });
        let number = |n: Option<String>| n.filter(|n| n != "0").unwrap_or_else(|| "-".to_owned());
        let epoch = number(owned.map(|owned| owned.epoch.to_string()));
        let reign = number(owned.map(|owned| owned.reign.to_string()));
        table.add_row([route.name.as_str(), &route.shard, state, &epoch, &reign, &keys]);
    }
    table
}

fn shards(shards: &[Shard]) -> Table {
    let header = [
        "SHARD",
        "STATE",
        "ETCD",
        "REVISION",
        "DB SIZE",
        "IN USE",
        "QUOTA",
        "IN FLIGHT",
        "COMPACTED",
        "ALARMS",
    ];
    let mut table = table(&header, &[3, 4, 5, 6, 7, 8]);
    for shard in shards {
        let name = if shard.home { format!("{} (home)", shard.name) } else { shard.name.clone() };
        let bytes = |field: fn(&Endpoint) -> i64| shard.best().map_or("-".to_owned(), |e| bytes(field(e)));
        let quota =
            if shard.best().is_some_and(|e| e.quota > 0) { bytes(|e| e.quota) } else { "-".to_owned() };
        let mut alarms: Vec<_> = shard.alarms.iter().map(|a| a.alarm.as_str()).collect();
        alarms.dedup();
        table.add_row([
            name,
            state(shard).to_owned(),
            shard.version.clone().unwrap_or_else(|| "-".to_owned()),
            shard.revision.to_string(),
            bytes(|e| e.db_size),
            bytes(|e| e.db_size_in_use),
            quota,
            format!("{}/{}", shard.in_flight, shard.max_in_flight),
            shard.seconds_since_compaction.map_or("-".to_owned(), |age| format!("{} ago", duration(age))),
            if alarms.is_empty() { "-".to_owned() } else { alarms.join(", ") },
        ]);
    }
    table
}

fn state(shard: &Shard) -> &'static str {
    match (shard.best().is_some(), shard.reachable, shard.has_leader) {
        (false, ..) => "never contacted",
        (true, false, _) if shard.breaker_open => "unreachable (refused)",
        (true, false, _) => "unreachable",
        (true, true, false) => "no leader",
        (true, true, true) => "ok",
    }
}

fn endpoints(shards: &[Shard]) -> Table {
    let header = ["SHARD", "ENDPOINT", "ROLE", "HEALTH", "ETCD", "TERM", "REVISION", "DB SIZE", "SEEN"];
    let mut table = table(&header, &[5, 6, 7, 8]);
    for shard in shards {
        for endpoint in &shard.endpoints {
            table.add_row(endpoint_row(&shard.name, endpoint));
        }
    }
    table
}

fn endpoint_row(shard: &str, endpoint: &Endpoint) -> [String; 9] {
    let Some(age) = endpoint.last_seen_ms else {
        let unknown = || "-".to_owned();
        let (shard, url) = (shard.to_owned(), endpoint.url.clone());
        return [
            shard,
            url,
            unknown(),
            unknown(),
            unknown(),
            unknown(),
            unknown(),
            unknown(),
            "never".to_owned(),
        ];
    };
    let role = match (endpoint.leader, endpoint.learner) {
        (true, _) => "leader",
        (false, true) => "learner",
        (false, false) => "follower",
    };
    [
        shard.to_owned(),
        endpoint.url.clone(),
        role.to_owned(),
        if endpoint.healthy { "ok" } else { "unhealthy" }.to_owned(),
        endpoint.version.clone(),
        endpoint.raft_term.to_string(),
        endpoint.revision.to_string(),
        bytes(endpoint.db_size),
        format!("{} ago", duration(age / 1000)),
    ]
}

/// An empty table; `right`: columns of numbers.
fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(Cell::new));
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Such as `3h 12m`: the two largest units.
fn duration(seconds: u64) -> String {
    let text = humantime::format_duration(Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Such as `1.5 GiB`.
fn bytes(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests;
