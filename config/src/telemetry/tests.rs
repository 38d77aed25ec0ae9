use crate::config::{LogFormat, LogLevel};
use crate::testing::{self, LISTEN, ROUTE, SHARD, good};

fn file(more: &str) -> String {
    format!("{LISTEN}{SHARD}{ROUTE}{more}\n")
}

#[test]
fn defaults() {
    let config = good(&file(""));
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(config.trace.otlp_endpoint, None);
}

#[test]
fn everything_set() {
    for level in LogLevel::ALL {
        for format in LogFormat::ALL {
            let text = format!("[log]\nlevel = \"{}\"\nformat = \"{}\"", level.as_str(), format.as_str());
            let log = good(&file(&text)).log;
            assert_eq!((log.level, log.format), (level, format));
        }
    }
    let config = good(&file("[trace]\notlp_endpoint = \"http://Collector:4317\""));
    assert_eq!(config.trace.otlp_endpoint.as_deref(), Some("http://collector:4317"));
}

/// Line 9 is the first of `more`.
fn check(more: &str, expected: &[&str]) {
    testing::check(&file(more), expected);
}

#[test]
fn mistakes() {
    check(
        "[log]\nlevel = \"warning\"",
        &["10:9 level: \"warning\" is not known; did you mean \"warn\"? It is one of"],
    );
    check("[log]\nlevel = \"x\"", &["10:9 level: \"x\" is not known; write one of \"error\", \"warn\""]);
    check(
        "[log]\nlevel = 3\nformat = \"jsn\"",
        &[
            "10:9 level: expected a string, found an integer; write one of",
            "11:10 format: \"jsn\" is not known; did you mean \"json\"?",
        ],
    );
    check(
        "[trace]\notlp_endpoint = \"collector:4317\"",
        &["10:17 otlp_endpoint: an endpoint begins with http://"],
    );
    check(
        "[trace]\notlp_endpiont = \"\"",
        &["10:1 unknown key otlp_endpiont in [trace]; did you mean otlp_endpoint?"],
    );
}
