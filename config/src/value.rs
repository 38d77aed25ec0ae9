//! The kinds of values that keys take.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::endpoint::{Endpoint, EndpointError};
use crate::reader::{Mistake, article, closest};

#[cfg(test)]
mod tests;

pub(crate) fn string(value: &DeValue<'_>) -> Result<String, Mistake> {
    text(value, "put it in double quotes").map(str::to_owned)
}

/// A text with something in it, and nothing that would break a log line.
pub(crate) fn line(value: &DeValue<'_>) -> Result<String, Mistake> {
    let text = text(value, "put it in double quotes")?;
    if text.trim().is_empty() {
        return Err(Mistake::new("is empty", "write a text, or leave the key out"));
    }
    if text.chars().any(char::is_control) {
        return Err(Mistake::new("holds a line break or another control character", "write one line"));
    }
    Ok(text.to_owned())
}

/// The name of a shard or route. A malformed one is noted where it is declared, so this takes any text.
pub(crate) fn name_mistake(name: &str) -> Option<Mistake> {
    let good = !name.is_empty() && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    (!good).then(|| {
        Mistake::new(format!("bad name {name:?}"), "a name is made of a-z, 0-9 and -, such as \"pods\"")
    })
}

pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Mistake> {
    value.as_bool().ok_or_else(|| kind("true or false", value, "write true or false, without quotes"))
}

/// A whole number within `bounds`.
pub(crate) fn count<T>(bounds: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, Mistake>
where
    T: TryFrom<u64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let help =
            || format!("write a whole number from {} to {}, without quotes", bounds.start(), bounds.end());
        let integer = value.as_integer().ok_or_else(|| kind("a whole number", value, help()))?;
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| Mistake::new("out of bounds", help()))
    }
}

/// A span of time within `bounds`, such as `"500ms"` or `"1m 30s"`.
pub(crate) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, Mistake> {
    move |value| {
        let text = text(value, "write a text with a unit, such as \"7s\" or \"500ms\"")?;
        let duration = humantime::parse_duration(text).map_err(|_| {
            Mistake::new("not a span of time", "write a number and a unit, such as \"7s\" or \"500ms\"")
        })?;
        if duration < *bounds.start() {
            return Err(Mistake::new("too short", format!("write at least \"{}\"", show(*bounds.start()))));
        }
        if duration > *bounds.end() {
            return Err(Mistake::new("too long", format!("write at most \"{}\"", show(*bounds.end()))));
        }
        Ok(duration)
    }
}

/// A span of time as it is written in a file.
pub(crate) fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// `ip:port` to listen on.
pub(crate) fn address(value: &DeValue<'_>) -> Result<SocketAddr, Mistake> {
    let help =
        "write an IP address and a port, such as \"127.0.0.1:2379\", \"0.0.0.0:2379\" or \"[::1]:2379\"";
    text(value, help)?.parse().map_err(|_| Mistake::new("not an address to listen on", help))
}

/// `scheme://host:port`.
pub(crate) fn endpoint(value: &DeValue<'_>) -> Result<Endpoint, Mistake> {
    let example = "write it as \"http://10.0.0.1:2379\" or \"https://etcd-0.example.com:2379\"";
    text(value, example)?.parse().map_err(|error: EndpointError| {
        let help = match error {
            EndpointError::UserInfo => "take them out; a [[shard]] has username and password_file",
            _ => example,
        };
        Mistake::new(error.to_string(), help)
    })
}

/// The path of a file. Whether it is there is seen when it is opened.
pub(crate) fn path(value: &DeValue<'_>) -> Result<PathBuf, Mistake> {
    let text = text(value, "write a path in double quotes")?;
    if text.is_empty() {
        return Err(Mistake::new("is empty", "write a path, or leave the key out"));
    }
    if text.contains("-----BEGIN") || text.chars().any(char::is_control) {
        return Err(Mistake::new("not a path", "write the path of the file, not its content"));
    }
    Ok(PathBuf::from(text))
}

/// One of a few words.
pub(crate) fn choice<T: Copy, const N: usize>(
    all: [T; N],
    as_str: fn(T) -> &'static str,
) -> impl Fn(&DeValue<'_>) -> Result<T, Mistake> {
    move |value| {
        let words = all.map(as_str);
        let list = || words.map(|word| format!("\"{word}\"")).join(", ");
        let text = text(value, &format!("write one of {}", list()))?;
        all.into_iter().find(|choice| as_str(*choice) == text).ok_or_else(|| {
            let help = match closest(text, &words) {
                Some(word) => format!("did you mean \"{word}\"? It is one of {}", list()),
                None => format!("write one of {}", list()),
            };
            Mistake::new(format!("{text:?} is not known"), help)
        })
    }
}

fn text<'v>(value: &'v DeValue<'_>, help: &str) -> Result<&'v str, Mistake> {
    value.as_str().ok_or_else(|| kind("a string", value, help))
}

fn kind(expected: &str, found: &DeValue<'_>, help: impl Into<String>) -> Mistake {
    Mistake::new(format!("expected {expected}, found {}", article(found.type_str())), help)
}
