//! Reads one `[[route]]`.

use toml::de::DeValue;

use crate::config::Route;
use crate::errors::Problems;
use crate::reader::{Located, Mistake, Reader};
use crate::value;

#[cfg(test)]
mod tests;

/// Keys that belong to the default route whatever the prefixes say: the API server's compaction record and its health
/// probe, which must not depend on another shard than home.
const HOME_KEYS: [&str; 2] = ["compact_rev_key", "/registry/health"];

/// A `[[route]]` as far as it could be read.
pub(crate) struct Draft {
    /// `None` when a mistake was noted.
    pub(crate) route: Option<Route>,
    /// Also when malformed.
    pub(crate) name: Option<Located<String>>,
    pub(crate) prefixes: Vec<Located<String>>,
    pub(crate) shard: Option<Located<String>>,
    /// Whether it is meant to be the default route.
    pub(crate) is_default: bool,
    pub(crate) span: std::ops::Range<usize>,
}

pub(crate) fn read(mut reader: Reader<'_>, problems: &mut Problems) -> Draft {
    let name = reader.required(problems, "name", "write name = \"pods\" or the like", value::string);
    if let Some(name) = &name
        && let Some(mistake) = value::name_mistake(&name.value)
    {
        problems.wrong(name.span.clone(), mistake.message, mistake.help);
    }
    let is_default = !reader.has("prefixes");
    let prefixes = prefixes(&mut reader, problems);
    let shard =
        reader.required(problems, "shard", "write shard = \"…\", the name of a [[shard]]", value::string);
    let span = reader.span.clone();
    reader.finish(problems);

    let route = name.clone().zip(shard.clone()).map(|(name, shard)| Route {
        name: name.value,
        prefixes: prefixes.iter().map(|prefix| prefix.value.clone()).collect(),
        shard: shard.value,
    });
    Draft { route, name, prefixes, shard, is_default, span }
}

fn prefixes(reader: &mut Reader<'_>, problems: &mut Problems) -> Vec<Located<String>> {
    let help = "list prefixes such as \"/registry/pods/\"; the default route has no prefixes key at all";
    reader.list(problems, "prefixes", help, prefix).map(|list| list.value).unwrap_or_default()
}

fn prefix(value: &DeValue<'_>) -> Result<String, Mistake> {
    let prefix = value::string(value)?;
    if prefix.is_empty() {
        return Err(Mistake::new(
            "an empty prefix",
            "write a prefix such as \"/registry/pods/\"; what no prefix names goes to the default route",
        ));
    }
    // TOML text cannot spell the byte 0xFF: "\xff" is the character U+00FF, and whoever writes it means the byte.
    if prefix.starts_with('\u{ff}') {
        return Err(Mistake::new(
            "keys that begin with byte 0xFF are the proxy's own",
            "choose a prefix that begins with another byte",
        ));
    }
    let Some(bare) = prefix.strip_suffix('/') else {
        return Err(Mistake::new(
            format!("{prefix:?} does not end in \"/\""),
            format!("write \"{}/\": it also owns the key {prefix:?} itself", prefix.escape_debug()),
        ));
    };
    if let Some(key) = HOME_KEYS.into_iter().find(|key| key.starts_with(&prefix) || *key == bare) {
        return Err(Mistake::new(
            format!("{prefix:?} owns the key {key:?}, which belongs to the default route"),
            "list longer prefixes, one per resource, such as \"/registry/pods/\"",
        ));
    }
    Ok(prefix)
}
