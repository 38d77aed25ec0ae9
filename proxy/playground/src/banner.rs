//! What the playground tells its user.

#[cfg(test)]
mod tests;

use crate::child::Child;
use crate::layout::{Layout, Proxy, Shard, url};

pub(crate) fn shard_line(shard: &Shard, child: &Child) -> String {
    let keys = match shard.prefixes {
        _ if shard.route_on != shard.name => "no keys yet".to_owned(),
        [] => "everything else".to_owned(),
        prefixes => prefixes.join(" "),
    };
    format!("  shard {:<7} {}  pid {}  {keys}", shard.name, url(shard.client), pid(child))
}

pub(crate) fn proxy_line(proxy: &Proxy, child: &Child) -> String {
    format!("  proxy {:<7} {}  pid {}  admin {}", proxy.name, proxy.url, pid(child), url(proxy.admin))
}

fn pid(child: &Child) -> String {
    child.pid().map_or_else(|| "gone".to_owned(), |pid| pid.to_string())
}

/// How to use what now runs.
pub(crate) fn usage(layout: &Layout, etcdctl: Option<&str>) -> String {
    let endpoints = layout.endpoints();
    let etcdctl = etcdctl.unwrap_or("etcdctl");
    format!(
        "\n\
         ready. Ctrl-C stops everything; the data stays.\n\n\
         \x20 {etcdctl} --endpoints={endpoints} get --prefix \"\"\n\n\
         An unmodified kube-apiserver needs nothing but\n\n\
         \x20 --etcd-servers={endpoints}\n\n\
         and one that is started just to try it, no cluster around it (docs/operations.md makes the three files):\n\n\
         \x20 kube-apiserver --etcd-servers={endpoints} \\\n\
         \x20   --bind-address=127.0.0.1 --secure-port=6443 --cert-dir=certs --advertise-address=192.0.2.1 \\\n\
         \x20   --service-cluster-ip-range=10.0.0.0/24 --service-account-issuer=https://kubernetes.default.svc \\\n\
         \x20   --service-account-key-file=sa.pub --service-account-signing-key-file=sa.key \\\n\
         \x20   --token-auth-file=tokens.csv --authorization-mode=AlwaysAllow \\\n\
         \x20   --disable-admission-plugins=ServiceAccount\n"
    )
}
