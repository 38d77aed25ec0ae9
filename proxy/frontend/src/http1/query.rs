//! The query of a health check.

/// `a=b&c`: names of checks and alarms need no decoding.
#[derive(Debug, Default)]
pub(crate) struct Query<'a> {
    /// Alarms or checks to leave out.
    exclude: Vec<&'a str>,
    /// Whether a member without a leader is good enough.
    pub(crate) serializable: bool,
    /// Whether every check is listed.
    pub(crate) verbose: bool,
}

impl<'a> Query<'a> {
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut query = Self::default();
        for pair in text.split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("exclude", name) if !name.is_empty() => query.exclude.push(name),
                ("serializable", value) => query.serializable = value == "true",
                ("verbose", _) => query.verbose = true,
                _ => {}
            }
        }
        query
    }

    pub(crate) fn excludes(&self, name: &str) -> bool {
        self.exclude.contains(&name)
    }
}
