//! From text to [`Config`].

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::config::{Config, DEFAULT_CLUSTER_NAME};
use crate::errors::{ConfigErrors, Diagnostics, Problem, Problems, position};
use crate::reader::Reader;
use crate::{cross, listen, ownership, route, shard, telemetry, value};

#[cfg(test)]
mod tests;

impl Config {
    /// Reads and checks the file. Relative paths in it are taken from the directory that it is in.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or everything that is wrong in it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let bytes =
            std::fs::read(path).map_err(|source| ConfigErrors::Read { path: path.to_owned(), source })?;
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => return Err(not_utf8(&name, &bytes, error.valid_up_to())),
        };
        let mut config = Self::parse(text, &name)?;
        config.rebase(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Checks `text`, which errors call `name`. Opens no file; paths stay as they are written.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in it.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigErrors> {
        let (table, syntax) = DeTable::parse_recoverable(text);
        let mut problems = Problems::default();
        let config = read(table.get_ref(), table.span(), &mut problems);
        let syntax: Vec<Problem> = syntax.iter().map(|error| syntax_problem(text, error)).collect();
        let found = if syntax.is_empty() { problems.list } else { trustworthy(text, problems.list, syntax) };
        match config {
            Some(config) if found.is_empty() => Ok(config),
            _ => Err(ConfigErrors::Invalid(Diagnostics::new(name, text, found))),
        }
    }

    /// Puts relative paths under `directory`.
    fn rebase(&mut self, directory: &Path) {
        let onto = |path: &mut PathBuf| *path = directory.join(&*path);
        if let Some(tls) = &mut self.listen.tls {
            onto(&mut tls.cert);
            onto(&mut tls.key);
            tls.client_ca.iter_mut().for_each(onto);
        }
        for shard in &mut self.shards {
            shard.password_file.iter_mut().for_each(onto);
            if let Some(tls) = &mut shard.tls {
                onto(&mut tls.ca);
                tls.cert.iter_mut().chain(&mut tls.key).for_each(onto);
            }
        }
    }
}

/// `None` only with something in `problems`.
fn read(table: &DeTable<'_>, span: Range<usize>, problems: &mut Problems) -> Option<Config> {
    let mut file = Reader::new(table, "the file", span.start..span.start);
    let cluster_name = file.or(problems, "cluster_name", DEFAULT_CLUSTER_NAME.to_owned(), value::line);
    file.present(problems, "listen", "add [listen] with client = \"127.0.0.1:2379\"");
    let listen = match file.table(problems, "listen", "[listen]") {
        Some(table) => listen::read(table, problems),
        None => listen::Draft::default(),
    };
    file.present(problems, "shard", "add a [[shard]] with name and endpoints for each etcd cluster");
    let shards = file.tables(problems, "shard", "[[shard]]");
    let shards: Vec<_> = shards.into_iter().map(|table| shard::read(table, problems)).collect();
    file.present(
        problems,
        "route",
        "add a [[route]] with name and shard; without prefixes it is the default route",
    );
    let routes = file.tables(problems, "route", "[[route]]");
    let routes: Vec<_> = routes.into_iter().map(|table| route::read(table, problems)).collect();
    let ownership = file.table(problems, "ownership", "[ownership]");
    let ownership = ownership.map(|table| ownership::read(table, problems));
    let log = file.table(problems, "log", "[log]").map(|table| telemetry::read_log(table, problems));
    let trace = file.table(problems, "trace", "[trace]").map(|table| telemetry::read_trace(table, problems));
    file.finish(problems);
    cross::check(&shards, &routes, &listen.own, problems);

    Some(Config {
        cluster_name,
        listen: listen.listen?,
        shards: shards.into_iter().map(|draft| draft.shard).collect::<Option<_>>()?,
        routes: routes.into_iter().map(|draft| draft.route).collect::<Option<_>>()?,
        ownership: ownership.unwrap_or_default(),
        log: log.unwrap_or_default(),
        trace: trace.unwrap_or_default(),
    })
}

fn syntax_problem(text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().unwrap_or(text.len()..text.len());
    let help = "the file is TOML: key = \"text\", key = 1, [section], [[section that may repeat]]".to_owned();
    Problem { span, message: error.message().to_owned(), help, related: None, absence: false }
}

/// With broken syntax, only what is wrong for sure: what is *missing* may be behind the broken line, and below a broken
/// header keys belong to nobody knows which section.
fn trustworthy(text: &str, found: Vec<Problem>, syntax: Vec<Problem>) -> Vec<Problem> {
    let line_of = |problem: &Problem| position(text, problem.span.start).0;
    let broken: Vec<usize> = syntax.iter().map(line_of).collect();
    let is_header =
        |line: &usize| text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('['));
    let mut all = syntax;
    if !broken.iter().any(is_header) {
        all.extend(
            found.into_iter().filter(|problem| !problem.absence && !broken.contains(&line_of(problem))),
        );
    }
    all
}

fn not_utf8(name: &str, bytes: &[u8], valid: usize) -> ConfigErrors {
    let text = String::from_utf8_lossy(bytes);
    let message = "not UTF-8 text".to_owned();
    // Up to `valid` both texts are the same, and there the replacement character stands.
    let span = valid..valid + char::REPLACEMENT_CHARACTER.len_utf8();
    let problem =
        Problem { span, message, help: "save the file as UTF-8".to_owned(), related: None, absence: false };
    ConfigErrors::Invalid(Diagnostics::new(name, &text, vec![problem]))
}
