//! How each program is started.

use std::ffi::OsString;
use std::net::SocketAddr;

use crate::error::BenchError;
use crate::rungs::RungKind;
use crate::system::ports;
use crate::system::scratch::Scratch;

/// Room for everything that a round writes.
const QUOTA: u64 = 16 << 30;

/// The route that moves.
pub(crate) const MOVED_ROUTE: &str = "pods";
const MOVED_PREFIX: &str = "/registry/pods/";

/// One etcd member that listens on `client`, with its data in `scratch`.
pub(crate) fn etcd(client: SocketAddr, scratch: &Scratch, fsync: bool) -> Result<Vec<OsString>, BenchError> {
    let peer = ports::free()?;
    let mut args = vec![
        "--name=bench".to_owned(),
        format!("--data-dir={}", scratch.path().join("etcd").display()),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=bench=http://{peer}"),
        format!("--quota-backend-bytes={QUOTA}"),
        "--log-level=warn".to_owned(),
    ];
    if !fsync {
        args.push("--unsafe-no-fsync".to_owned());
    }
    Ok(args.into_iter().map(OsString::from).collect())
}

/// The proxy of a rung, between `listen` and `etcd`. Direct has none, and no arguments.
pub(crate) fn proxy(
    rung: RungKind,
    listen: SocketAddr,
    etcd: SocketAddr,
    scratch: &Scratch,
) -> Result<Vec<OsString>, BenchError> {
    let args: Vec<OsString> = match rung {
        RungKind::Direct => Vec::new(),
        RungKind::Splice | RungKind::Forward => {
            [rung.name(), "--listen", &listen.to_string(), "--to", &etcd.to_string()]
                .map(OsString::from)
                .into()
        }
        RungKind::Prism | RungKind::Unfenced => {
            let mut text = prism_config(listen, ports::free()?, etcd);
            if rung == RungKind::Unfenced {
                text.push_str("\n[ownership]\nfences = false\n");
            }
            let config = scratch.write(&format!("{rung}.toml"), &text)?;
            vec!["serve".into(), "--config".into(), config.into()]
        }
        // Started otherwise, with two etcds.
        RungKind::Unmoved
        | RungKind::Copying
        | RungKind::Followed
        | RungKind::Switched
        | RungKind::Completed => Vec::new(),
        RungKind::Nginx => {
            let config = scratch.write("nginx.conf", &nginx_config(listen, etcd, scratch))?;
            let log = scratch.path().join("nginx-error.log");
            vec!["-p".into(), scratch.path().into(), "-e".into(), log.into(), "-c".into(), config.into()]
        }
        RungKind::GrpcProxy => {
            let data = scratch.path().join("grpc-proxy");
            let args = [
                "grpc-proxy".to_owned(),
                "start".to_owned(),
                format!("--endpoints=http://{etcd}"),
                format!("--listen-addr={listen}"),
                "--advertise-client-url=".to_owned(),
                format!("--data-dir={}", data.display()),
            ];
            args.into_iter().map(OsString::from).collect()
        }
    };
    Ok(args)
}

/// One route, everything on one shard: the cost of the byte path itself.
fn prism_config(listen: SocketAddr, admin: SocketAddr, etcd: SocketAddr) -> String {
    format!(
        r#"{}
[[shard]]
name = "main"
endpoints = ["http://{etcd}"]

[[route]]
name = "rest"
shard = "main"
"#,
        prism_listen(listen, admin)
    )
}

/// What is measured has a route of its own, on the shard `a`; `b` is empty.
pub(crate) fn moving_config(listen: SocketAddr, admin: SocketAddr, [a, b]: [SocketAddr; 2]) -> String {
    format!(
        r#"{}
[[shard]]
name = "a"
endpoints = ["http://{a}"]

[[shard]]
name = "b"
endpoints = ["http://{b}"]

[[route]]
name = "{MOVED_ROUTE}"
prefixes = ["{MOVED_PREFIX}"]
shard = "a"

[[route]]
name = "rest"
shard = "a"
"#,
        prism_listen(listen, admin)
    )
}

fn prism_listen(listen: SocketAddr, admin: SocketAddr) -> String {
    format!("[listen]\nclient = \"{listen}\"\nadmin = \"{admin}\"\nadvertise = [\"http://{listen}\"]\n")
}

/// One process and no limits that a proxy for gRPC would not have; everything else as it comes.
fn nginx_config(listen: SocketAddr, etcd: SocketAddr, scratch: &Scratch) -> String {
    let folder = scratch.path().display();
    format!(
        r"daemon off;
master_process off;
pid {folder}/nginx.pid;
worker_rlimit_nofile 32768;
events {{
  worker_connections 24576;
}}
http {{
  access_log off;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  upstream etcd {{
    server {etcd};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
  }}
  server {{
    listen {listen} http2;
    http2_max_concurrent_streams 4096;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    client_max_body_size 0;
    client_body_timeout 1h;
    send_timeout 1h;
    location / {{
      grpc_pass grpc://etcd;
      grpc_read_timeout 1h;
      grpc_send_timeout 1h;
    }}
  }}
}}
"
    )
}
