use crate::testing::good;

#[test]
fn the_example_explained() {
    let explained = good(include_str!("../../examples/prism.toml")).explain();
    let rows: Vec<Vec<&str>> = explained.lines().map(|line| line.split_whitespace().collect()).collect();
    let check = |row: &str| {
        let row: Vec<&str> = row.split_whitespace().collect();
        assert!(rows.contains(&row), "{row:?} is not in\n{explained}");
    };
    check("client 127.0.0.1:2379 plaintext");
    check("admin 127.0.0.1:2389 no authentication");
    check("max request 1572864 bytes (message: 2097152)");
    check("pods http://127.0.0.1:32379 plaintext request 7s 4096 pods");
    check("fences on, session TTL 10s");
    check("rest (home) http://127.0.0.1:42379 plaintext request 7s 4096 rest");
    check("/registry/leases/ leases leases");
    check("everything else rest rest");
}

#[test]
fn security_explained() {
    let text = "[listen]\nclient = \"127.0.0.1:1\"\n[listen.tls]\ncert = \"c\"\nkey = \"k\"\nclient_ca = \"ca\"\n\
        allowed_names = [\"a\", \"b\"]\n[[shard]]\nname = \"rest\"\nendpoints = [\"https://a:1\"]\nusername = \"prism\"\n\
        password_file = \"pw\"\ntls = { ca = \"x\", server_name = \"n\" }\n[[route]]\nname = \"all\"\nshard = \"rest\"\n";
    let explained = good(text).explain();
    for part in [
        "mutual TLS, clients of ca named a, b",
        "TLS, ca x",
        "server name n",
        "user prism, password in pw",
        "all",
    ] {
        assert!(explained.contains(part), "{part:?} is not in\n{explained}");
    }
}
