//! Identities as they are stored: numbers, written as hex.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is not an identity of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {digits} hex digits")]
pub struct BadId {
    text: String,
    digits: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $number:ty, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:0width$x}", self.0, width = $digits)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = || BadId { text: text.to_owned(), digits: $digits };
                // The number's own parser takes a sign and any length.
                if text.len() != $digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(bad());
                }
                <$number>::from_str_radix(text, 16).map(Self).map_err(|_| bad())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A shard's random identity, created once and kept in its data: a restored backup brings it along, an etcd that was
    /// started anew does not have it.
    ShardUid, u128, 32
}

id! {
    /// The id of an etcd cluster, as in its reply headers.
    ClusterId, u64, 16
}

id! {
    /// A proxy process's random identity, new at each start: a session is never mistaken for its predecessor's.
    ProxyId, u128, 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_of_one_length() {
        let id = ClusterId(0xbeef);
        assert_eq!(id.to_string(), "000000000000beef");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "beef", "+00000000000beef", "0000000000000beef", "00000000000000xy"] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"000000000000beef\"");
        assert_eq!(serde_json::from_str::<ClusterId>("\"000000000000beef\"").unwrap(), id);
    }
}
