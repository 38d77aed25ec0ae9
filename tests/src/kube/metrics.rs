//! Prometheus' text format.

use std::collections::BTreeMap;

/// One line: a name, its labels and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    /// The label's value; empty where there is none, as Prometheus sees it.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

impl Metrics {
    /// Panics where a line cannot be read: a number that is silently missing would let a test pass.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples =
            lines.map(|line| sample(line).unwrap_or_else(|| panic!("a line that is no sample: {line}")));
        Self { samples: samples.collect() }
    }

    /// Every sample of `name` that has all of `labels`.
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|(label, value)| sample.label(label) == *value)
        })
    }

    /// The sum of [`select`](Self::select); 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The values of `name` by its labels `group` and `resource`, as `resource.group`.
    pub fn by_resource(&self, name: &str, labels: &[(&str, &str)]) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.select(name, labels) {
            *sums.entry(group_resource(sample.label("group"), sample.label("resource"))).or_default() +=
                sample.value;
        }
        sums
    }

    /// By how much [`by_resource`](Self::by_resource) differs from what it was `before`, where it does.
    pub fn growth(&self, before: &Self, name: &str, labels: &[(&str, &str)]) -> BTreeMap<String, f64> {
        let before = before.by_resource(name, labels);
        let mut growth = self.by_resource(name, labels);
        for (resource, value) in &mut growth {
            *value -= before.get(resource).unwrap_or(&0.0);
        }
        growth.retain(|_, value| *value != 0.0);
        growth
    }
}

fn group_resource(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    // A time may follow the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads `name="value",…}`; the labels and what follows them.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        rest = loop {
            match characters.next()? {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => value.push(match characters.next()? {
                    (_, 'n') => '\n',
                    (_, escaped) => escaped,
                }),
                (_, character) => value.push(character),
            }
        };
        labels.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_and_without_labels() {
        let text = "# TYPE a counter\na{group=\"\",resource=\"pods\"} 2\na{group=\"apps\",resource=\"x\\\"y, }\"} 3e0 17\nb 1\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", &[]), 5.0);
        assert_eq!(metrics.sum("a", &[("group", "")]), 2.0);
        assert_eq!(metrics.sum("b", &[("group", "")]), 1.0);
        assert_eq!(metrics.by_resource("a", &[]).into_keys().collect::<Vec<_>>(), ["pods", "x\"y, }.apps"]);
    }

    #[test]
    fn growth_names_what_has_changed() {
        let before = Metrics::parse("a{resource=\"pods\"} 2\na{resource=\"nodes\"} 1\n");
        let after =
            Metrics::parse("a{resource=\"pods\"} 5\na{resource=\"nodes\"} 1\na{resource=\"jobs\"} 1\n");
        let growth = after.growth(&before, "a", &[]);
        assert_eq!(growth, BTreeMap::from([("jobs".to_owned(), 1.0), ("pods".to_owned(), 3.0)]));
    }

    #[test]
    #[should_panic(expected = "no sample")]
    fn a_line_that_is_no_sample_is_not_passed_over() {
        Metrics::parse("a{b=\"c} 1\n");
    }
}
