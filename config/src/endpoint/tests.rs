use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: Result<(&str, u16, &str), EndpointError>) {
    let found = text.parse::<Endpoint>();
    let found = found.as_ref().map(|e| (e.host.as_str(), e.port, e.url.as_str())).map_err(|e| *e);
    assert_eq!(found, expected, "{text}");
}

#[test]
fn endpoints() {
    check("http://127.0.0.1:2379", Ok(("127.0.0.1", 2379, "http://127.0.0.1:2379")));
    check(
        "https://etcd-0.Example.com:2379/",
        Ok(("etcd-0.example.com", 2379, "https://etcd-0.example.com:2379")),
    );
    check("http://[::1]:2379", Ok(("::1", 2379, "http://[::1]:2379")));
    check("https://[2001:DB8:0::1]:1", Ok(("2001:db8::1", 1, "https://[2001:db8::1]:1")));
}

#[test]
fn no_endpoints() {
    check("", Err(EndpointError::Scheme));
    check("127.0.0.1:2379", Err(EndpointError::Scheme));
    check("unix:///run/etcd.sock", Err(EndpointError::Scheme));
    check("http://root:secret@10.0.0.1:2379", Err(EndpointError::UserInfo));
    check("http://10.0.0.1", Err(EndpointError::Port));
    check("http://10.0.0.1:", Err(EndpointError::Port));
    check("http://10.0.0.1:0", Err(EndpointError::Port));
    check("http://10.0.0.1:65536", Err(EndpointError::Port));
    check("http://[::1]", Err(EndpointError::Port));
    check("http://10.0.0.1:2379/v3", Err(EndpointError::Path));
    check("http://10.0.0.1:2379?x", Err(EndpointError::Path));
    check("http://:2379", Err(EndpointError::Host));
    check("http://::1:2379", Err(EndpointError::Host));
    check("http://etcd 0:2379", Err(EndpointError::Host));
    check("http://-:2379", Err(EndpointError::Host));
    check("http://10.0.0.1,10.0.0.2:2379", Err(EndpointError::Host));
}

#[test]
fn loopback_is_one_server() {
    let same = |a: &str, b: &str| {
        let (a, b) = (a.parse::<Endpoint>(), b.parse::<Endpoint>());
        a.expect("an endpoint").same_server(&b.expect("an endpoint"))
    };
    assert!(same("http://127.0.0.1:1", "http://localhost:1"));
    assert!(same("http://127.0.0.1:1", "https://[::1]:1"));
    assert!(!same("http://127.0.0.1:1", "http://127.0.0.1:2"));
    assert!(!same("http://10.0.0.1:1", "http://10.0.0.2:1"));
}

proptest! {
    #[test]
    fn an_endpoint_reads_back_as_itself(text in "https?://(\\[::[0-9a-f]{1,4}\\]|[a-zA-Z0-9.-]{1,20}):[0-9]{1,5}/?") {
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            prop_assert_eq!(endpoint.url.parse::<Endpoint>(), Ok(endpoint));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _: Result<Endpoint, EndpointError> = text.parse();
        let _: Result<Endpoint, EndpointError> = format!("http://{text}:1").parse();
    }
}
