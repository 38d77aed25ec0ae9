use etcd_prism_config::Config;

use super::*;

fn parsed(listen: &str, proxies: usize, of: usize) -> toml::Table {
    let layout = Layout::new(listen.parse().expect("an address"), proxies, false).expect("a layout");
    toml(&layout, &layout.proxies[of]).parse().expect("valid TOML")
}

#[test]
fn two_proxies_list_each_other() {
    let second = parsed("127.0.0.1:2379", 2, 1);
    let expected: toml::Table = r#"
        client = "127.0.0.1:2479"
        admin = "127.0.0.1:2489"
        advertise = ["http://127.0.0.1:2379", "http://127.0.0.1:2479"]
    "#
    .parse()
    .expect("valid TOML");
    assert_eq!(second["listen"].as_table(), Some(&expected));
}

#[test]
fn shards_and_routes() {
    let file = parsed("127.0.0.1:2379", 1, 0);
    let expected: toml::Table = r#"
        shard = [
            { name = "events", endpoints = ["http://127.0.0.1:12379"] },
            { name = "leases", endpoints = ["http://127.0.0.1:22379"] },
            { name = "pods", endpoints = ["http://127.0.0.1:32379"] },
            { name = "rest", endpoints = ["http://127.0.0.1:42379"] },
        ]
        route = [
            { name = "events", prefixes = ["/registry/events/"], shard = "events" },
            { name = "leases", prefixes = ["/registry/leases/"], shard = "leases" },
            { name = "pods", prefixes = ["/registry/pods/"], shard = "pods" },
            { name = "rest", shard = "rest" },
        ]
    "#
    .parse()
    .expect("valid TOML");
    assert_eq!(file["shard"], expected["shard"]);
    assert_eq!(file["route"], expected["route"]);
}

#[test]
fn unsplit_every_route_is_on_one_shard() {
    let layout = Layout::new("127.0.0.1:2379".parse().expect("an address"), 1, true).expect("a layout");
    let config = Config::parse(&toml(&layout, &layout.proxies[0]), "prism.toml").expect("a configuration");
    assert_eq!((config.shards.len(), config.routes.len()), (4, 4));
    assert!(config.routes.iter().all(|route| route.shard == "rest"));
}

#[test]
fn the_proxy_accepts_it() {
    for (listen, proxies) in [("127.0.0.1:2379", 1), ("0.0.0.0:1", 16), ("[::1]:25534", 2), ("[::]:2379", 2)]
    {
        let layout = Layout::new(listen.parse().expect("an address"), proxies, false).expect("a layout");
        for proxy in &layout.proxies {
            let text = toml(&layout, proxy);
            let config = Config::parse(&text, "prism.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(config.listen.client, proxy.client);
            assert_eq!(config.listen.admin, proxy.admin);
            assert_eq!(config.routes.len(), layout.shards.len());
        }
    }
}
