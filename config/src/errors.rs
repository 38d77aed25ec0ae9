//! What is wrong with a configuration file: every mistake with its place and what would be right.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::redact::redact;

#[cfg(test)]
mod tests;

/// Why there is no `Config`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigErrors {
    /// The file cannot be read at all.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was read and is wrong.
    #[error("{0}")]
    Invalid(Diagnostics),
}

impl ConfigErrors {
    /// The mistakes in the file, in file order; empty when the file could not be read.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid(diagnostics) => &diagnostics.list,
        }
    }
}

/// All mistakes in one file, in file order; never empty. Displays each with its line and a caret. Holds no secret: values
/// that look like one are masked.
#[derive(Clone, PartialEq, Eq)]
pub struct Diagnostics {
    name: String,
    text: String,
    list: Vec<Diagnostic>,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    span: Range<usize>,
    related: Option<(Range<usize>, &'static str)>,
}

/// A mistake before its line is known. Spans are byte ranges of the file.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) help: String,
    /// Another place that shows why, and what is there.
    pub(crate) related: Option<(Range<usize>, &'static str)>,
    /// Follows from something *not* being in the file, so a syntax error elsewhere may be the true cause.
    pub(crate) absence: bool,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) list: Vec<Problem>,
}

// === impl Problems ===

impl Problems {
    pub(crate) fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add(span, message.into(), help.into(), None, false);
    }

    /// Like [`wrong`](Self::wrong), with the other place that it is wrong with.
    pub(crate) fn clash(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
        related: (Range<usize>, &'static str),
    ) {
        self.add(span, message.into(), help.into(), Some(related), false);
    }

    pub(crate) fn absent(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.add(span, message.into(), help.into(), None, true);
    }

    fn add(
        &mut self,
        span: Range<usize>,
        message: String,
        help: String,
        related: Option<(Range<usize>, &'static str)>,
        absence: bool,
    ) {
        self.list.push(Problem { span, message, help, related, absence });
    }
}

// === impl Diagnostics ===

impl Diagnostics {
    pub(crate) fn new(name: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        let list = problems
            .into_iter()
            .map(|problem| {
                let (line, column) = position(text, problem.span.start);
                let Problem { span, message, help, related, .. } = problem;
                let span = first_line(text, span);
                let related = related.map(|(span, label)| (first_line(text, span), label));
                Diagnostic { line, column, message, help, span, related }
            })
            .collect();
        Self { name: name.to_owned(), text: redact(text), list }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain();
        for diagnostic in &self.list {
            let mut snippet = Snippet::source(&self.text)
                .path(&self.name)
                .annotation(AnnotationKind::Primary.span(diagnostic.span.clone()));
            if let Some((span, label)) = &diagnostic.related {
                snippet = snippet.annotation(AnnotationKind::Context.span(span.clone()).label(*label));
            }
            let report = Level::ERROR
                .primary_title(&diagnostic.message)
                .element(snippet)
                .element(Level::HELP.message(&diagnostic.help));
            writeln!(f, "{}\n", renderer.render(&[report]))?;
        }
        match self.list.len() {
            1 => write!(f, "1 error in {}", self.name),
            n => write!(f, "{n} errors in {}", self.name),
        }
    }
}

/// Leaves the text of the file out: it is long, and the list says what matters.
impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostics")
            .field("name", &self.name)
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

/// The line and column of a byte offset, both from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..floor_boundary(text, offset)).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (line, before[start..].chars().count() + 1)
}

/// A span cut at the end of the line it begins on, so that a caret never underlines half a file.
fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let start = floor_boundary(text, span.start);
    let end = floor_boundary(text, span.end.max(start));
    let line = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    start..end.min(line)
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}
