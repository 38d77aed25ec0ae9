//! Hides what looks like a secret in a configuration file before any of it is shown.
//!
//! No key of ours takes a secret, so these are people's mistakes: a password in a URL, `password = "…"` in place of
//! `password_file`, a private key pasted where a path belongs. Hiding too much costs a little clarity; too little, a secret.

#[cfg(test)]
mod tests;

const SECRET_WORDS: [&str; 4] = ["pass", "secret", "token", "credential"];
const NO_SECRET: &str = "password_file";
const QUOTES: [&str; 2] = ["\"\"\"", "'''"];

/// `text` with every suspicious byte replaced by `*`, so that offsets and lines stay what they were.
pub(crate) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut hidden_until: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        if let Some(end) = hidden_until {
            mask(&mut out, line);
            if line.contains(end) {
                hidden_until = None;
            }
            continue;
        }
        let (from, to) = secret_part(line);
        out.push_str(&line[..from]);
        mask(&mut out, &line[from..to]);
        out.push_str(&line[to..]);
        hidden_until = continues(&line[from..to]);
    }
    out
}

/// The byte range of `line` to hide; empty when nothing is suspicious.
fn secret_part(line: &str) -> (usize, usize) {
    if let Some(begin) = line.find("-----BEGIN") {
        return (begin, line.len());
    }
    if let Some(value) = secret_value(line) {
        return (value, line.len());
    }
    match (line.find("://"), line.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => (scheme + 3, at),
        _ => (0, 0),
    }
}

/// Where the value of the first key begins whose name speaks of a secret.
fn secret_value(line: &str) -> Option<usize> {
    let mut at = 0;
    while at < line.len() {
        let rest = &line[at..];
        let start = at + rest.find(is_word)?;
        let end = line[start..].find(|c| !is_word(c)).map_or(line.len(), |length| start + length);
        let word = line[start..end].to_ascii_lowercase();
        let after = line[end..].trim_start_matches(['"', '\'', ' ', '\t']);
        let is_key = after.starts_with(['=', ':', '.']) || line[..start].trim().is_empty();
        if is_key && word != NO_SECRET && SECRET_WORDS.iter().any(|secret| word.contains(secret)) {
            return Some(end);
        }
        at = end;
    }
    None
}

/// What closes the multi-line value that a hidden part opens, if it opens one.
fn continues(hidden: &str) -> Option<&'static str> {
    if hidden.contains("-----BEGIN") {
        return (!hidden.contains("-----END")).then_some("-----END");
    }
    QUOTES.into_iter().find(|quote| hidden.matches(quote).count() % 2 == 1)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

fn mask(out: &mut String, part: &str) {
    for c in part.chars() {
        match c {
            '\n' | '\r' => out.push(c),
            _ => out.extend(std::iter::repeat_n('*', c.len_utf8())),
        }
    }
}
