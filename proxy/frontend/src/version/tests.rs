use super::*;

#[test]
fn verdicts() {
    for (version, expected) in [
        ("3.4.39", "unsupported"),
        ("3.5.12", "unsupported"),
        ("3.5.13-rc.0", "unsupported"),
        ("", "unsupported"),
        ("garbage", "unsupported"),
        ("3.5.13", "old"),
        ("3.5.23", "old"),
        ("3.5.24", "good"),
        ("3.6.0", "old"),
        ("3.6.5", "old"),
        ("3.6.6", "good"),
        ("3.6.14", "good"),
        ("3.7.0-rc.1", "old"),
        ("3.7.0", "old"),
        ("3.7.1", "good"),
        ("3.10.0", "good"),
        ("4.0.0-alpha.0", "good"),
    ] {
        let verdict = match support(version) {
            Support::Unsupported(_) => "unsupported",
            Support::Old(_) => "old",
            Support::Good => "good",
        };
        assert_eq!(verdict, expected, "{version}");
    }
}

#[test]
fn order() {
    assert_eq!(lowest(["3.10.1", "3.9.0", "3.9.10"]), Some("3.9.0"));
    assert_eq!(lowest(["3.7.0", "3.7.0-rc.1"]), Some("3.7.0-rc.1"));
    assert_eq!(lowest(["3.7.0", "unknown"]), Some("unknown"));
    assert_eq!(lowest([]), None);
    assert_eq!(cluster("3.6.12").as_deref(), Some("3.6.0"));
    assert_eq!(cluster("3.8.0-alpha.0").as_deref(), Some("3.8.0"));
    assert_eq!(cluster(""), None);
}
