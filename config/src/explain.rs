//! A configuration for people, as `check-config` prints it.

use comfy_table::{Table, presets};

use crate::config::{Config, Listen, Shard};
use crate::endpoint::Endpoint;
use crate::value::show;

#[cfg(test)]
mod tests;

impl Config {
    /// Everything in force, defaults included, as tables. Names password files and never reads them.
    pub fn explain(&self) -> String {
        let sections = [
            ("listen", self.explain_listen()),
            ("shards", self.explain_shards()),
            ("routes (the longest prefix wins)", self.explain_routes()),
        ];
        let sections = sections.map(|(title, table)| format!("{title}\n{}\n", table.trim_fmt()));
        sections.join("\n")
    }

    fn explain_listen(&self) -> Table {
        let listen = &self.listen;
        let mut table = new_table();
        table.add_row(["cluster name", &self.cluster_name]);
        table.add_row(["client".to_owned(), format!("{}  {}", listen.client, client_security(listen))]);
        table.add_row(["admin".to_owned(), format!("{}  no authentication", listen.admin)]);
        table.add_row(["advertise", &listen.advertise.join("\n")]);
        table.add_row(["max connections".to_owned(), listen.max_connections.to_string()]);
        table.add_row([
            "max concurrent streams".to_owned(),
            format!("{} per connection", listen.max_concurrent_streams),
        ]);
        let message = format!("{} bytes (message: {})", listen.max_request_bytes, listen.max_message_bytes());
        table.add_row(["max request".to_owned(), message]);
        table.add_row(["max txn ops".to_owned(), listen.max_txn_ops.to_string()]);
        let workers = listen.workers.map_or_else(|| "one per core".to_owned(), |workers| workers.to_string());
        let scheduler = if listen.work_stealing { "work stealing" } else { "one event loop each" };
        table.add_row(["workers".to_owned(), format!("{workers}, {scheduler}")]);
        table.add_row(["drain timeout".to_owned(), show(listen.drain_timeout)]);
        table.add_row([
            "log".to_owned(),
            format!("{}, {}", self.log.level.as_str(), self.log.format.as_str()),
        ]);
        let ownership = &self.ownership;
        let fences = match ownership.fences {
            true => format!("on, session TTL {}", show(ownership.session_ttl)),
            false => "OFF: for benchmarks and emergencies only".to_owned(),
        };
        table.add_row(["fences", &fences]);
        table.add_row(["traces", self.trace.otlp_endpoint.as_deref().unwrap_or("off")]);
        table
    }

    fn explain_shards(&self) -> Table {
        let mut table = new_table();
        table.set_header(["shard", "endpoints", "security", "timeouts", "max in flight", "routes"]);
        let home = self.home().map(|home| &home.name);
        for shard in &self.shards {
            let name =
                if home == Some(&shard.name) { format!("{} (home)", shard.name) } else { shard.name.clone() };
            let routes = self.routes.iter().filter(|route| route.shard == shard.name);
            let routes: Vec<&str> = routes.map(|route| route.name.as_str()).collect();
            table.add_row([
                name,
                lines(shard.endpoints.iter().map(|Endpoint { url, .. }| url)),
                shard_security(shard),
                format!(
                    "request {}\nconnect {}\nkeepalive {}",
                    show(shard.request_timeout),
                    show(shard.connect_timeout),
                    show(shard.keepalive_interval)
                ),
                shard.max_in_flight.to_string(),
                if routes.is_empty() { "none".to_owned() } else { routes.join("\n") },
            ]);
        }
        table
    }

    fn explain_routes(&self) -> Table {
        let mut table = new_table();
        table.set_header(["prefix", "route", "shard"]);
        let mut rows: Vec<_> = self
            .routes
            .iter()
            .flat_map(|route| route.prefixes.iter().map(move |prefix| (prefix, route)))
            .collect();
        rows.sort_by_key(|(prefix, _)| prefix.as_bytes());
        for (prefix, route) in rows {
            table.add_row([prefix, &route.name, &route.shard]);
        }
        if let Some(route) = self.default_route() {
            table.add_row(["everything else", &route.name, &route.shard]);
        }
        table
    }
}

fn client_security(listen: &Listen) -> String {
    match &listen.tls {
        None => "plaintext".to_owned(),
        Some(tls) => match (&tls.client_ca, tls.allowed_names.as_slice()) {
            (None, _) => "TLS, clients not authenticated".to_owned(),
            (Some(ca), []) => format!("mutual TLS, clients of {}", ca.display()),
            (Some(ca), names) => {
                format!("mutual TLS, clients of {} named {}", ca.display(), names.join(", "))
            }
        },
    }
}

fn shard_security(shard: &Shard) -> String {
    let mut parts = vec![match &shard.tls {
        None => "plaintext".to_owned(),
        Some(tls) if tls.cert.is_some() => format!("mutual TLS, ca {}", tls.ca.display()),
        Some(tls) => format!("TLS, ca {}", tls.ca.display()),
    }];
    if let Some(name) = shard.tls.as_ref().and_then(|tls| tls.server_name.as_ref()) {
        parts.push(format!("server name {name}"));
    }
    if let (Some(user), Some(file)) = (&shard.username, &shard.password_file) {
        parts.push(format!("user {user}, password in {}", file.display()));
    }
    if shard.allow_unsupported_version {
        parts.push("unsupported versions allowed".to_owned());
    }
    parts.join("\n")
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn lines<'a>(parts: impl Iterator<Item = &'a String>) -> String {
    parts.map(String::as_str).collect::<Vec<_>>().join("\n")
}
