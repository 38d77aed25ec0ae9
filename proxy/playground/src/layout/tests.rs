use std::collections::HashSet;

use super::*;

fn layout(listen: &str, proxies: usize) -> Result<Layout, PlaygroundError> {
    Layout::new(listen.parse().expect("an address"), proxies, false)
}

#[test]
fn the_default_ports() {
    let layout = layout("127.0.0.1:2379", 2).expect("a layout");
    let ports: Vec<_> =
        layout.addresses().into_iter().map(|(what, address)| format!("{what}: {address}")).collect();
    assert_eq!(
        ports,
        [
            "prism-1 for clients: 127.0.0.1:2379",
            "prism-1 for admin: 127.0.0.1:2389",
            "prism-2 for clients: 127.0.0.1:2479",
            "prism-2 for admin: 127.0.0.1:2489",
            "shard events for clients: 127.0.0.1:12379",
            "shard events for peers: 127.0.0.1:12380",
            "shard leases for clients: 127.0.0.1:22379",
            "shard leases for peers: 127.0.0.1:22380",
            "shard pods for clients: 127.0.0.1:32379",
            "shard pods for peers: 127.0.0.1:32380",
            "shard rest for clients: 127.0.0.1:42379",
            "shard rest for peers: 127.0.0.1:42380",
        ]
    );
    assert_eq!(layout.endpoints(), "http://127.0.0.1:2379,http://127.0.0.1:2479");
}

#[test]
fn no_two_listeners_share_a_port() {
    for port in [1, 2379, MAX_LISTEN_PORT] {
        let layout = layout(&format!("127.0.0.1:{port}"), MAX_PROXIES).expect("a layout");
        let addresses = layout.addresses();
        let distinct: HashSet<_> = addresses.iter().map(|(_, address)| address.port()).collect();
        assert_eq!(distinct.len(), addresses.len(), "listen port {port}");
    }
}

#[test]
fn only_clients_are_reached_from_elsewhere() {
    let layout = layout("0.0.0.0:2379", 1).expect("a layout");
    assert_eq!(layout.proxies[0].client.to_string(), "0.0.0.0:2379");
    assert_eq!(layout.proxies[0].url, "http://127.0.0.1:2379");
    for (what, address) in layout.addresses().into_iter().skip(1) {
        assert!(address.ip().is_loopback(), "{what}: {address}");
    }
}

#[test]
fn ipv6() {
    let layout = layout("[::1]:2379", 1).expect("a layout");
    assert_eq!(layout.endpoints(), "http://[::1]:2379");
    assert_eq!(url(layout.shards[3].client), "http://[::1]:42379");
}

#[test]
fn what_is_out_of_bounds() {
    let check = |listen, proxies, expected: &str| {
        assert_eq!(layout(listen, proxies).expect_err(listen).to_string(), expected);
    };
    check(
        "127.0.0.1:0",
        1,
        "--listen: port 0 is not between 1 and 25534 (the shards take this port plus up to 40001)",
    );
    check(
        "127.0.0.1:25535",
        1,
        "--listen: port 25535 is not between 1 and 25534 (the shards take this port plus up to 40001)",
    );
    check("127.0.0.1:2379", 0, "--proxies: 0 is not between 1 and 16");
    check("127.0.0.1:2379", 17, "--proxies: 17 is not between 1 and 16");
}
