use super::closest;

#[test]
fn a_slip_of_the_pen_is_recognised() {
    let keys = ["endpoints", "tls", "request_timeout", "connect_timeout", "max_in_flight"];
    let check = |word: &str, expected: Option<&str>| assert_eq!(closest(word, &keys), expected, "{word}");
    check("endpoint", Some("endpoints"));
    check("Endpoints", Some("endpoints"));
    check("request-timeout", Some("request_timeout"));
    check("max_inflight", Some("max_in_flight"));
    check("colour", None);
    check("", None);
}
