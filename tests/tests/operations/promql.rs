//! The metrics and labels that a PromQL expression asks for. Not a parser: it knows the shapes that we write.

use std::collections::BTreeSet;

/// The beginning of every metric of ours.
pub(crate) const PREFIX: &str = "etcd_prism_";

/// A metric of ours as it stands in an expression.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector<'e> {
    pub(crate) name: &'e str,
    /// Label, operator and value.
    pub(crate) matchers: Vec<(&'e str, &'e str, &'e str)>,
}

/// Every selector of a metric of ours.
pub(crate) fn selectors(expression: &str) -> Vec<Selector<'_>> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(PREFIX) {
        rest = &rest[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        rest = behind;
        let matchers = match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((matchers, behind)) => {
                rest = behind;
                self::matchers(matchers)
            }
            None => Vec::new(),
        };
        found.push(Selector { name, matchers });
    }
    found
}

fn matchers(text: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    // Between quotes there is a value, whatever it holds.
    let parts: Vec<&str> = text.split('"').collect();
    for pair in parts.chunks_exact(2) {
        let left = pair[0].trim_matches([',', ' ']);
        let end = left.find(['=', '!']).unwrap_or_else(|| panic!("no matcher: {text}"));
        found.push((&left[..end], &left[end..], pair[1]));
    }
    assert!(!found.is_empty(), "no matchers: {text}");
    found
}

/// Labels in `by (…)`, `on (…)` and the like.
pub(crate) fn grouped(expression: &str) -> BTreeSet<&str> {
    let keywords = ["by (", "on (", "without (", "ignoring ("];
    let lists = keywords.iter().flat_map(|keyword| expression.split(keyword).skip(1));
    let lists = lists.filter_map(|behind| behind.split_once(')')).map(|(list, _)| list);
    lists.flat_map(|list| list.split(',')).map(str::trim).collect()
}

#[test]
fn selectors_and_groups_are_found() {
    let text = "sum by (route, le) (rate(etcd_prism_a{code=~\"A|B\",route=\"(x)\"}[5m])) / on (job) etcd_prism_b > 0";
    let expected = [
        Selector { name: "etcd_prism_a", matchers: vec![("code", "=~", "A|B"), ("route", "=", "(x)")] },
        Selector { name: "etcd_prism_b", matchers: Vec::new() },
    ];
    assert_eq!(selectors(text), expected);
    assert_eq!(grouped(text), ["job", "le", "route"].into());
}
