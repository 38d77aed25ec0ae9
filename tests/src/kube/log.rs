//! What an API server's log must not tell of.

use std::path::Path;

/// Go's own reports of a crash begin a line; the API server's own reports may stand anywhere in it.
const BEGINNINGS: &[&str] = &["panic: ", "fatal error: ", "runtime: "];
const REPORTS: &[&str] =
    &["Observed a panic", "Cache consistency check failed", "Cache consistency check error"];

/// Nothing was compared: said of a cache that is being filled. That one is filled again is told by a metric.
const NOT_FILLED: &str = "cache is not ready";

/// The lines of a log that tell of a panic, or of a watch cache that differs from etcd or could not be compared.
pub(crate) fn faults(log: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
    text.lines().filter(|line| is_fault(line)).map(str::to_owned).collect()
}

fn is_fault(line: &str) -> bool {
    BEGINNINGS.iter().any(|beginning| line.starts_with(beginning))
        || REPORTS.iter().any(|report| line.contains(report)) && !line.contains(NOT_FILLED)
}

#[cfg(test)]
mod tests {
    use super::is_fault;

    #[test]
    fn panics_and_inconsistencies_are_faults() {
        for (line, fault) in [
            ("panic: runtime error: index out of range [0] with length 0", true),
            (r#"E1123 06:31:16 1 runtime.go:142] "Observed a panic" panic="x""#, true),
            (
                r#"E1123 06:31:16 1 checker.go:105] "Cache consistency check failed" group="" resource="pods""#,
                true,
            ),
            (
                r#"E1123 06:31:16 1 checker.go:98] "Cache consistency check error" err="etcd returned different""#,
                true,
            ),
            (
                r#"E1123 06:31:16 1 checker.go:98] "Cache consistency check error" err="cache is not ready" group="""#,
                false,
            ),
            (r#"I1123 06:31:16 1 checker.go:99] "Cache consistency check passed" group="""#, false),
            ("W1123 06:31:15 1 x.go:1] retrying after a panic: of no importance", false),
        ] {
            assert_eq!(is_fault(line), fault, "{line}");
        }
    }
}
