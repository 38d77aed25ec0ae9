//! What the documents name exists, and what exists is named.

use std::collections::BTreeMap;
use std::path::Path;

use crate::{path, read};

const COMPATIBILITY: &str = "docs/compatibility.md";
const OPERATIONS: &str = "docs/operations.md";

/// Texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The sources of one suite, as one text.
fn suite(name: &str) -> String {
    let folder = path("tests/tests").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files = files.map(|file| file.expect("a file of a suite").path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| {
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        })
        .collect()
}

#[test]
fn tests_that_are_named_exist() {
    let text = read(COMPATIBILITY);
    let is_name = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let named: Vec<_> = quoted(&text)
        .filter_map(|quoted| quoted.split_once("::"))
        .filter(|(s, f)| is_name(s) && is_name(f))
        .collect();
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let mut suites: BTreeMap<&str, String> = BTreeMap::new();
    let missing: Vec<_> = named
        .into_iter()
        .filter(|(suite, function)| {
            let source = suites.entry(suite).or_insert_with(|| self::suite(suite));
            !source.contains(&format!("fn {function}("))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_method_has_a_row() {
    let source = read("proxy/frontend/src/dispatch.rs");
    let methods = source.lines().filter_map(|line| line.trim().strip_prefix("\"/")?.strip_suffix("\","));
    let text = read(COMPATIBILITY);
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split(" | ").next())
        .collect();
    let mut count = 0;
    for method in methods {
        count += 1;
        let short = method.rsplit('.').next().unwrap_or(method);
        assert!(
            rows.iter().any(|row| row.contains(&format!("`{short}`"))),
            "{COMPATIBILITY} has no row for {short}"
        );
    }
    assert!(count > 50, "only {count} methods were found");
}

/// The example shows each key with its default; the tables must say the same.
#[test]
fn every_key_of_the_configuration_is_explained() {
    let (example, text) = (read("config/examples/prism.toml"), read(OPERATIONS));
    let rows: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ")).collect();
    let mut count = 0;
    for line in example.lines() {
        let Some((key, value)) = line.trim_start_matches('#').split_once('=') else { continue };
        let key = key.trim_end();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            continue;
        }
        count += 1;
        let cells: Vec<&str> = rows.iter().filter(|(name, _)| *name == key).map(|(_, rest)| *rest).collect();
        assert!(!cells.is_empty(), "{OPERATIONS} has no row for {key}");
        let defaults =
            cells.iter().filter_map(|rest| rest.split(" | ").next()?.strip_prefix('`')?.strip_suffix('`'));
        for default in defaults {
            let value = value.split('#').next().unwrap_or(value).trim();
            assert_eq!(default, value, "the default of {key}");
        }
    }
    assert!(count > 30, "only {count} keys were found");
}

#[test]
fn links_lead_somewhere() {
    for name in ["README.md", "ARCHITECTURE.md", OPERATIONS, COMPATIBILITY, "docs/watch.md", "docs/leases.md"]
    {
        let (text, file) = (read(name), path(name));
        let folder = file.parent().unwrap_or(Path::new(""));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.starts_with("http") {
                continue;
            }
            let target = if target.is_empty() { file.clone() } else { folder.join(target) };
            assert!(target.exists(), "{name}: {link}");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a document");
                let headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(headings.map(anchor_of).any(|heading| heading == anchor), "{name}: {link}");
            }
        }
    }
}

/// As GitHub makes them.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
