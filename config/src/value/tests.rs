use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::*;

/// What `parse` makes of the TOML value `text`: the value, or the mistake's message.
fn read<T>(text: &str, parse: impl Fn(&DeValue<'_>) -> Result<T, Mistake>) -> Result<T, String> {
    let text = format!("x = {text}");
    let table = DeTable::parse(&text).expect("TOML");
    parse(table.get_ref()["x"].get_ref()).map_err(|mistake| mistake.message)
}

#[test]
fn spans_of_time() {
    let check = |text: &str, expected: Result<u64, &str>| {
        let found = read(text, duration(Duration::from_millis(2)..=Duration::from_secs(3600)));
        assert_eq!(found, expected.map(Duration::from_millis).map_err(str::to_owned), "{text}");
    };
    check("\"7s\"", Ok(7000));
    check("\"500ms\"", Ok(500));
    check("\"1m 30s\"", Ok(90_000));
    check("\"1h\"", Ok(3_600_000));
    check("\"1ms\"", Err("too short"));
    check("\"61m\"", Err("too long"));
    check("\"\"", Err("not a span of time"));
    check("\"-1s\"", Err("not a span of time"));
    check("\"99999999999999999999s\"", Err("not a span of time"));
    check("7.5", Err("expected a string, found a float"));
}

#[test]
fn whole_numbers() {
    let check = |text: &str, expected: Result<u32, &str>| {
        assert_eq!(read(text, count(1..=u32::MAX)), expected.map_err(str::to_owned), "{text}");
    };
    check("1", Ok(1));
    check("10_000", Ok(10_000));
    check("0xFF", Ok(255));
    check("0o17", Ok(15));
    check("+7", Ok(7));
    check("4294967295", Ok(u32::MAX));
    check("4294967296", Err("out of bounds"));
    check("0", Err("out of bounds"));
    check("-7", Err("out of bounds"));
    check("[1]", Err("expected a whole number, found an array"));
}

#[test]
fn paths() {
    let check = |text: &str, expected: Result<&str, &str>| {
        assert_eq!(read(text, path), expected.map(PathBuf::from).map_err(str::to_owned), "{text}");
    };
    check("\"/etc/prism/tls.crt\"", Ok("/etc/prism/tls.crt"));
    check("'C:\\x'", Ok("C:\\x"));
    check("\"\"", Err("is empty"));
    check("\"a\\nb\"", Err("not a path"));
    check("\"-----BEGIN CERTIFICATE-----\"", Err("not a path"));
    check("true", Err("expected a string, found a boolean"));
}

#[test]
fn lines_of_text() {
    let check = |text: &str, expected: Result<&str, &str>| {
        assert_eq!(read(text, line), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
    };
    check("\"prism\"", Ok("prism"));
    check("\" \"", Err("is empty"));
    check("\"a\\tb\"", Err("holds a line break or another control character"));
}
