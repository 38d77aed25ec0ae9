use super::*;

#[test]
fn every_endpoint_is_in_every_command() {
    let layout = Layout::new("127.0.0.1:2379".parse().expect("an address"), 2, false).expect("a layout");
    let text = usage(&layout, Some("/opt/etcdctl"));
    let both = "http://127.0.0.1:2379,http://127.0.0.1:2479";
    assert!(text.contains(&format!("\n  /opt/etcdctl --endpoints={both} get --prefix \"\"\n")), "{text}");
    assert!(text.contains(&format!("\n  --etcd-servers={both}\n")), "{text}");
    assert!(text.contains(&format!("\n  kube-apiserver --etcd-servers={both} \\\n")), "{text}");
}

#[test]
fn etcdctl_comes_from_the_path_when_none_is_known() {
    let layout = Layout::new("127.0.0.1:2379".parse().expect("an address"), 1, false).expect("a layout");
    assert!(usage(&layout, None).contains("\n  etcdctl --endpoints=http://127.0.0.1:2379 get"));
}
