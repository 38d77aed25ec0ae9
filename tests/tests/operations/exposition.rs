//! Prometheus' text format, as far as these tests need it.

use std::collections::{BTreeMap, BTreeSet};

/// What a proxy exports.
#[derive(Debug)]
pub(crate) struct Exposition {
    /// Names by `# TYPE`: a histogram is one.
    pub(crate) families: BTreeSet<String>,
    samples: Vec<Sample>,
}

/// The name of a sample (a histogram has several) and its labels.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Exposition {
    pub(crate) fn parse(text: &str) -> Self {
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let families = families.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { families, samples: lines.map(Sample::parse).collect() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// The labels of the samples called `name`.
    pub(crate) fn labels(&self, name: &str) -> BTreeSet<&str> {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        samples.flat_map(|sample| sample.labels.keys()).map(String::as_str).collect()
    }

    /// Whether a sample called `name` has all these labels with these values.
    pub(crate) fn matches(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.samples.iter().filter(|sample| sample.name == name).any(|sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        })
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        value.parse::<f64>().unwrap_or_else(|error| panic!("{error}: {line}"));
        let Some((name, labels)) = series.split_once('{') else {
            return Self { name: series.to_owned(), labels: BTreeMap::new() };
        };
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels: {line}"));
        // No value of a label of ours has a quote in it.
        let labels = labels.split_terminator('"').collect::<Vec<_>>();
        let pairs = labels.chunks_exact(2).map(|pair| {
            let label = pair[0].trim_start_matches(',').trim_end_matches('=');
            (label.to_owned(), pair[1].to_owned())
        });
        Self { name: name.to_owned(), labels: pairs.collect() }
    }
}

#[test]
fn names_labels_and_families_are_read() {
    let text = "# HELP a x\n# TYPE a histogram\na_count{le=\"+Inf\",route=\"(spanning)\"} 3\n\n# TYPE b gauge\nb -0.5\n";
    let read = Exposition::parse(text);
    assert_eq!(read.families, ["a".to_owned(), "b".to_owned()].into());
    assert!(read.has("a_count") && read.has("b") && !read.has("a"));
    assert_eq!(read.labels("a_count"), ["le", "route"].into());
    assert!(
        read.matches("a_count", &[("route", "(spanning)")]) && !read.matches("a_count", &[("route", "pods")])
    );
}
