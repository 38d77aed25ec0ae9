//! `etcd-prism migrate`, as an operator runs it.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use crate::proxy::Proxy;
use crate::tools;
use crate::wait;

/// `etcd-prism migrate VERB ROUTE ARGS` at a proxy: whether it succeeded, and what it printed, errors last.
pub async fn run(proxy: &Proxy, verb: &str, route: &str, args: &[&str]) -> (bool, String) {
    run_at(&proxy.admin(), verb, route, args).await
}

/// The same at the proxy whose admin address this is; broken off when it is dropped.
pub async fn run_at(admin: &str, verb: &str, route: &str, args: &[&str]) -> (bool, String) {
    let admin = format!("http://{admin}");
    let mut command = Command::new(tools::etcd_prism());
    command.args(["migrate", verb, route]).args(args).args(["--admin", &admin, "--output", "json"]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("run etcd-prism");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// The same. What it prints as JSON; panics if it fails.
pub async fn migrate(proxy: &Proxy, verb: &str, route: &str, args: &[&str]) -> Value {
    let (done, text) = run(proxy, verb, route, args).await;
    assert!(done, "migrate {verb} {route} {args:?} failed:\n{text}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in what {verb} printed: {text}"))
}

/// The same, as soon as nothing speaks against it.
pub async fn migrate_soon(proxy: &Proxy, verb: &str, route: &str, args: &[&str]) {
    wait::until(verb, async || match run(proxy, verb, route, args).await {
        (true, _) => Ok(()),
        (false, text) => Err(text),
    })
    .await;
}

/// Waits until everything of the route is copied.
pub async fn copied(proxy: &Proxy, route: &str) {
    wait::until("the copy to end", async || {
        let status = migrate(proxy, "status", route, &[]).await.to_string();
        if status.contains(r#""phase":"follow""#) { Ok(()) } else { Err(status) }
    })
    .await;
}
