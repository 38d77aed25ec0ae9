//! Manifests, units and configurations for people to copy.

use std::collections::BTreeMap;
use std::process::Command;

use etcd_prism_tests::tools;
use yaml_rust2::{Yaml, YamlLoader};

use crate::{path, read};

/// From SIGTERM until the proxy has ended by itself, in seconds: `listen.drain_timeout` unless configured, and what the end
/// itself may take.
const DRAIN: u64 = 10 + 5;

fn yaml(name: &str) -> Yaml {
    let mut documents =
        YamlLoader::load_from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(documents.len(), 1, "{name}");
    documents.swap_remove(0)
}

/// The last values of a unit's keys by section, and all of those that are commands.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let mut section = String::new();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in read(name).lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.strip_suffix(']').expect("the end of a header").to_owned();
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
        found.entry(format!("{section}.{key}")).or_default().push(value.to_owned());
    }
    found
}

#[test]
fn configurations_are_accepted() {
    for name in ["config/examples/prism.toml", "config/kubernetes/prism.toml"] {
        let output = Command::new(tools::etcd_prism())
            .arg("check-config")
            .arg(path(name))
            .output()
            .expect("etcd-prism");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {text}");
    }
}

#[test]
fn the_static_pod_starts_the_proxy_and_lets_it_drain() {
    let pod = yaml("config/kubernetes/etcd-prism.yaml");
    assert_eq!((pod["kind"].as_str(), pod["apiVersion"].as_str()), (Some("Pod"), Some("v1")));
    let spec = &pod["spec"];
    let grace =
        spec["terminationGracePeriodSeconds"].as_i64().and_then(|seconds| u64::try_from(seconds).ok());
    assert!(grace.is_some_and(|grace| grace >= DRAIN), "{grace:?}");
    let container = &spec["containers"][0];
    let command: Vec<_> =
        container["command"].as_vec().expect("a command").iter().filter_map(Yaml::as_str).collect();
    assert_eq!(command[..2], ["etcd-prism", "serve"]);
    let config = command[2].strip_prefix("--config=").expect("the configuration");
    let mount = container["volumeMounts"][0]["mountPath"].as_str().expect("a mount");
    assert!(config.starts_with(mount), "{config} is not in {mount}");
    let listen = read("config/kubernetes/prism.toml");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &container[probe]["httpGet"];
        let (host, port) = (get["host"].as_str().expect("a host"), get["port"].as_i64().expect("a port"));
        assert!(listen.contains(&format!("admin = \"{host}:{port}\"")), "{probe} asks {host}:{port}");
        let expected = if probe == "readinessProbe" { "/readyz" } else { "/livez" };
        assert_eq!(get["path"].as_str(), Some(expected), "{probe}");
    }
}

#[test]
fn the_unit_starts_the_proxy_and_lets_it_drain() {
    let unit = unit("config/systemd/etcd-prism.service");
    let start = &unit["Service.ExecStart"][0];
    assert!(start.contains("/etcd-prism serve --config /"), "{start}");
    let stop: u64 = unit["Service.TimeoutStopSec"][0].parse().expect("seconds");
    assert!(stop >= DRAIN, "{stop}");
    let reload = unit["Service.ExecReload"].last().expect("a reload");
    assert!(reload.ends_with("-HUP $MAINPID"), "{reload}");
}

/// API servers are told of the proxies that the configuration names, and of nothing else.
#[test]
fn kubeadm_is_told_of_the_proxies() {
    let external = &yaml("config/kubernetes/kubeadm.yaml")["etcd"]["external"];
    let endpoints: Vec<_> =
        external["endpoints"].as_vec().expect("endpoints").iter().filter_map(Yaml::as_str).collect();
    let advertise = format!("advertise = {endpoints:?}");
    assert!(read("config/kubernetes/prism.toml").contains(&advertise), "{advertise}");
    for key in ["caFile", "certFile", "keyFile"] {
        assert!(external[key].as_str().is_some_and(|file| file.starts_with("/etc/kubernetes/pki/")), "{key}");
    }
}
