//! Rules, dashboard and the table of metrics, against what a proxy at work exports.

use std::collections::BTreeSet;

use etcd_prism_proto::etcdserverpb::{LeaseGrantRequest, PutRequest};
use etcd_prism_tests::request::{delete, delete_prefix, get, list, put, watch_prefix};
use etcd_prism_tests::topology::Topology;
use etcd_prism_tests::wait;
use etcd_prism_tests::watch_stream::WatchStream;
use serde_json::Value;
use yaml_rust2::YamlLoader;

use crate::exposition::Exposition;
use crate::promql::{PREFIX, grouped, selectors};
use crate::read;

const RULES: &str = "config/prometheus/rules.yaml";
const DASHBOARD: &str = "config/grafana/etcd-prism.json";
const DOCUMENT: &str = "docs/operations.md";

/// Labels that Prometheus adds when it scrapes.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

/// A proxy that has done what makes every metric appear.
async fn exposition() -> Exposition {
    let topology = Topology::four_shards().await;
    let client = topology.client();
    let mut watch = WatchStream::open(&client);
    watch.create(watch_prefix("/registry/pods/")).await;
    client.kv().put(put("/registry/pods/a", "1")).await.expect("a put");
    watch.next().await;
    client.kv().range(get("/registry/pods/a")).await.expect("a read");
    client.kv().range(list("/registry/")).await.expect("a list over all shards");
    client.kv().delete_range(delete("/registry/pods/a")).await.expect("a deletion");
    client.kv().delete_range(delete_prefix("/registry/")).await.expect_err("a deletion over all shards");
    let lease = client
        .lease()
        .lease_grant(LeaseGrantRequest { id: 0, ttl: 600 })
        .await
        .expect("a lease")
        .into_inner();
    for key in ["/registry/pods/b", "/registry/events/b"] {
        client.kv().put(PutRequest { lease: lease.id, ..put(key, "1") }).await.expect("a put with a lease");
    }
    // The gauges of shards are set when the health check has seen them.
    let text = wait::until("the gauges of all shards", async || {
        let text = topology.proxy.metrics().await;
        let seen = text.matches("etcd_prism_shard_up{shard=\"").count() == 4
            && !text.contains("shard_up{shard=\"rest\"} 0");
        if seen { Ok(text) } else { Err(text) }
    })
    .await;
    Exposition::parse(&text)
}

/// Every expression, with where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let rules = YamlLoader::load_from_str(&read(RULES)).expect("YAML");
    for group in rules[0]["groups"].as_vec().expect("groups") {
        for rule in group["rules"].as_vec().expect("rules") {
            let name = rule["alert"].as_str().expect("the name of an alert");
            found
                .push((format!("{RULES}: {name}"), rule["expr"].as_str().expect("an expression").to_owned()));
        }
    }
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place = format!("{DASHBOARD}: {}", panel["title"]);
            found.push((place, target["expr"].as_str().expect("an expression").to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if let Some(query) = variable["definition"].as_str() {
            found.push((format!("{DASHBOARD}: variable {}", variable["name"]), query.to_owned()));
        }
    }
    found
}

#[tokio::test]
async fn every_metric_is_one_that_the_proxy_exports() {
    let exported = exposition().await;
    let expressions = expressions();
    assert!(expressions.len() > 40, "only {} expressions were found", expressions.len());
    let mut wrong = Vec::new();
    for (place, expression) in &expressions {
        let selectors = selectors(expression);
        let mut known = BTreeSet::from(OF_PROMETHEUS);
        for selector in &selectors {
            known.extend(exported.labels(selector.name));
        }
        for selector in &selectors {
            if !exported.has(selector.name) {
                wrong.push(format!("{place}: there is no {}", selector.name));
                continue;
            }
            let own = exported.labels(selector.name);
            let unknown =
                selector.matchers.iter().filter(|m| !OF_PROMETHEUS.contains(&m.0) && !own.contains(m.0));
            wrong.extend(
                unknown.map(|(label, ..)| format!("{place}: {} has no label {label}", selector.name)),
            );
            let exact = selector.matchers.iter().filter(|m| m.1 == "=" && !OF_PROMETHEUS.contains(&m.0));
            let exact: Vec<_> = exact.map(|(label, _, value)| (*label, *value)).collect();
            if !exported.matches(selector.name, &exact) {
                wrong.push(format!("{place}: no {} has {exact:?}", selector.name));
            }
        }
        let unknown = grouped(expression).into_iter().filter(|label| !known.contains(label));
        wrong.extend(unknown.map(|label| format!("{place}: grouped by the unknown label {label}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_table_of_metrics_is_complete() {
    let exported = exposition().await;
    let text = read(DOCUMENT);
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: Vec<_> = rows.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    let documented: BTreeSet<String> = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(documented, exported.families);
    for (name, row) in rows {
        let mut cells = row.split('|').map(str::trim);
        let (kind, labels) = (cells.next().expect("a kind"), cells.next().expect("labels"));
        let sample = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        let labels: BTreeSet<_> = labels.split(", ").filter(|label| !label.is_empty()).collect();
        assert_eq!(labels, exported.labels(&sample), "labels of {name}");
    }
}

#[test]
fn every_alert_says_what_to_do() {
    let rules = YamlLoader::load_from_str(&read(RULES)).expect("YAML");
    let mut names = BTreeSet::new();
    for group in rules[0]["groups"].as_vec().expect("groups") {
        for rule in group["rules"].as_vec().expect("rules") {
            let name = rule["alert"].as_str().expect("the name of an alert");
            assert!(names.insert(name), "{name} twice");
            for key in ["summary", "runbook"] {
                assert!(
                    rule["annotations"][key].as_str().is_some_and(|text| text.len() > 20),
                    "{name}: no {key}"
                );
            }
            let severity = rule["labels"]["severity"].as_str();
            assert!(matches!(severity, Some("critical" | "warning" | "info")), "{name}: {severity:?}");
        }
    }
    assert!(!names.is_empty());
}
