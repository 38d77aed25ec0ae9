use super::*;

fn peer() -> PeerNames {
    PeerNames {
        common_name: Some("kube-apiserver".to_owned()),
        dns: vec!["a.b.Example.com".to_owned(), "host".to_owned(), ".x.org".to_owned()],
        uris: vec!["spiffe://example.com/ns/a".to_owned()],
        ips: vec![[10, 0, 0, 1].into(), "::1".parse().expect("an address")],
    }
}

fn check(allowed: &str, expected: bool) {
    assert_eq!(AllowedNames::new(&[allowed]).permits(&peer()), expected, "{allowed}");
}

#[test]
fn exact_names() {
    check("kube-apiserver", true);
    check("Kube-Apiserver", false);
    check("kube-apiserve", false);
    check("a.b.example.COM", true);
    check("b.example.com", false);
    check("spiffe://example.com/ns/a", true);
    check("spiffe://example.com/ns/A", false);
    check("10.0.0.1", true);
    check("10.0.0.2", false);
    check("0:0:0:0:0:0:0:1", true);
    check("", false);
}

#[test]
fn a_star_is_one_label_of_a_dns_name() {
    check("*.b.example.com", true);
    check("*.B.Example.com", true);
    check("*.example.com", false);
    check("*.com", false);
    check("*.x.org", false);
    check("*.", false);
    check("*", false);
    let only_cn = PeerNames { common_name: Some("a.example.com".to_owned()), ..PeerNames::default() };
    assert!(!AllowedNames::new(&["*.example.com"]).permits(&only_cn));
}

#[test]
fn one_of_a_list_is_enough_and_no_list_is_everyone() {
    assert!(AllowedNames::new(&["x", "host"]).permits(&peer()));
    assert!(!AllowedNames::new(&["x", "y"]).permits(&peer()));
    assert!(!AllowedNames::new(&["x"]).permits(&PeerNames::default()));
    assert!(AllowedNames::default().permits(&PeerNames::default()));
}
