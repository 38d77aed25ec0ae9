//! Takes a TOML table apart key by key, noting every mistake instead of stopping at the first.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::errors::Problems;

#[cfg(test)]
mod tests;

/// A value and where in the file it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// Why a value is not what its key wants.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// One table being read. Call [`finish`](Self::finish) last: it reports the keys that nobody asked for.
pub(crate) struct Reader<'a> {
    table: &'a DeTable<'a>,
    /// As people write it: `[listen]`, `[[shard]]`, "the file".
    title: &'static str,
    pub(crate) span: Range<usize>,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(table: &'a DeTable<'a>, title: &'static str, span: Range<usize>) -> Self {
        Self { table, title, span, known: Vec::new() }
    }

    /// The value of `key`, or nothing when it is absent or wrong (then noted).
    pub(crate) fn optional<T>(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Mistake>,
    ) -> Option<Located<T>> {
        let value = self.get(key)?;
        match parse(value.get_ref()) {
            Ok(parsed) => Some(Located { value: parsed, span: value.span() }),
            Err(mistake) => {
                problems.wrong(value.span(), format!("{key}: {}", mistake.message), mistake.help);
                None
            }
        }
    }

    /// Like [`optional`](Self::optional), and its absence is noted with `help`, a line that would do.
    pub(crate) fn required<T>(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        help: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Mistake>,
    ) -> Option<Located<T>> {
        self.present(problems, key, help);
        self.optional(problems, key, parse)
    }

    /// The value of `key`, or `default` when it is absent or wrong (then noted).
    pub(crate) fn or<T>(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Mistake>,
    ) -> T {
        self.optional(problems, key, parse).map_or(default, |found| found.value)
    }

    /// Every good element of the array under `key`; `None` when the key is absent or no array. An empty array is noted with
    /// `empty_help`.
    pub(crate) fn list<T>(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        empty_help: &str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Mistake>,
    ) -> Option<Located<Vec<Located<T>>>> {
        let value = self.get(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            let found = value.get_ref().type_str();
            problems.wrong(
                value.span(),
                format!("{key}: expected a list, found {}", article(found)),
                format!("put it in brackets: {key} = [ … ]"),
            );
            return None;
        };
        if array.is_empty() {
            problems.wrong(value.span(), format!("{key}: an empty list"), empty_help);
        }
        let mut good = Vec::with_capacity(array.len());
        for element in array.iter() {
            match parse(element.get_ref()) {
                Ok(parsed) => good.push(Located { value: parsed, span: element.span() }),
                Err(mistake) => {
                    problems.wrong(element.span(), format!("{key}: {}", mistake.message), mistake.help)
                }
            }
        }
        Some(Located { value: good, span: value.span() })
    }

    /// The table under `key`, called `title`.
    pub(crate) fn table(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        title: &'static str,
    ) -> Option<Reader<'a>> {
        let value = self.get(key)?;
        let reader = as_table(value, title);
        if reader.is_none() {
            problems.wrong(
                value.span(),
                format!("{key}: expected a table, found {}", article(value.get_ref().type_str())),
                format!("write it as {title}, with its keys on the lines below"),
            );
        }
        reader
    }

    /// The tables of the array under `key`, each called `title`; empty when the key is absent.
    pub(crate) fn tables(
        &mut self,
        problems: &mut Problems,
        key: &'static str,
        title: &'static str,
    ) -> Vec<Reader<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let readers = match value.get_ref() {
            DeValue::Array(array) => {
                array.iter().map(|element| as_table(element, title)).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        readers.unwrap_or_else(|| {
            problems.wrong(
                value.span(),
                format!("{key}: expected a list of tables, found {}", article(value.get_ref().type_str())),
                format!("begin each with a line {title}"),
            );
            Vec::new()
        })
    }

    /// Notes that `key` is missing unless it is there, in whatever form.
    pub(crate) fn present(&self, problems: &mut Problems, key: &'static str, help: &str) {
        if self.table.get(key).is_none() {
            problems.absent(self.span.clone(), format!("{} lacks {key}", self.title), help);
        }
    }

    /// Whether the file has `key`, right or wrong.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.table.get(key).is_some()
    }

    /// Notes every key that was not asked for.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let help = match closest(name, &self.known) {
                Some(known) => format!("did you mean {known}?"),
                None => format!("{} has: {}", self.title, self.known.join(", ")),
            };
            problems.wrong(key.span(), format!("unknown key {name} in {}", self.title), help);
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }
}

fn as_table<'a>(value: &'a Spanned<DeValue<'a>>, title: &'static str) -> Option<Reader<'a>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(Reader::new(table, title, value.span())),
        _ => None,
    }
}

/// The candidate that `word` is most likely a slip of.
pub(crate) fn closest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let score = |candidate: &str| strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase());
    candidates
        .iter()
        .map(|candidate| (score(candidate), *candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// A TOML type with its article.
pub(crate) fn article(kind: &str) -> String {
    let an = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if an { "an" } else { "a" })
}
