//! What the proxy's own keys hold: JSON objects that begin with `"format": 1`.
//!
//! Fields that are not known are ignored. What would change the meaning (another format, another state of a fence) is an
//! error with a clear text: a newer proxy's state is never taken for open.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

mod fence;
mod provenance;
mod record;
mod table;

pub use fence::{Claim, Fence, State};
pub use provenance::ProvenanceRecord;
pub use record::{Begin, Identity, MIGRATES, PROTOCOL, ReignRecord, Sample, Samples, SeenAt, Session};
pub use table::{Pending, Table, TableError, TableRoute, TableShard};

/// The format of most values.
pub const FORMAT: u32 = 1;

/// Why a stored value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ValueError {
    #[error("the {what} is not what a proxy writes: {error}")]
    Malformed { what: &'static str, error: String },
    #[error("the {what} has format {found}, this proxy knows format {FORMAT}: run a newer etcd-prism")]
    Format { what: &'static str, found: u64 },
    #[error("the fence is in the state {0:?}, which this proxy does not know: run a newer etcd-prism")]
    UnknownState(String),
}

/// A value under one of the reserved keys.
pub trait Stored: Sized {
    /// What it is, for error texts.
    const WHAT: &'static str;
    /// The newest format that can be read.
    const NEWEST: u32 = FORMAT;
    /// The JSON object behind it.
    type Body: Serialize + DeserializeOwned;

    fn to_body(&self) -> Self::Body;

    /// The format that it is written in: the oldest whose readers understand all of it.
    fn format(&self) -> u32 {
        FORMAT
    }

    /// # Errors
    /// What the body says is not known here.
    fn from_body(body: Self::Body) -> Result<Self, ValueError>;

    /// # Errors
    /// [`ValueError::Malformed`] if the value cannot be written as JSON, which no value of this crate does.
    fn encode(&self) -> Result<Vec<u8>, ValueError> {
        let body = self.to_body();
        serde_json::to_vec(&Envelope { format: self.format(), body }).map_err(|e| malformed(Self::WHAT, &e))
    }

    /// # Errors
    /// The bytes are not such a value, or a newer proxy wrote them.
    fn decode(bytes: &[u8]) -> Result<Self, ValueError> {
        // The format first: what a newer one looks like is not known.
        let Format { format } = serde_json::from_slice(bytes).map_err(|e| malformed(Self::WHAT, &e))?;
        if !(u64::from(FORMAT)..=u64::from(Self::NEWEST)).contains(&format) {
            return Err(ValueError::Format { what: Self::WHAT, found: format });
        }
        Self::from_body(serde_json::from_slice(bytes).map_err(|e| malformed(Self::WHAT, &e))?)
    }
}

#[derive(Serialize)]
struct Envelope<T> {
    format: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

fn malformed(what: &'static str, error: &dyn std::fmt::Display) -> ValueError {
    ValueError::Malformed { what, error: error.to_string() }
}

/// For values that are their own JSON object.
macro_rules! stored {
    ($type:ty, $what:literal) => {
        impl crate::value::Stored for $type {
            const WHAT: &'static str = $what;
            type Body = Self;

            fn to_body(&self) -> Self {
                self.clone()
            }

            fn from_body(body: Self) -> Result<Self, crate::value::ValueError> {
                Ok(body)
            }
        }
    };
}
pub(crate) use stored;

#[cfg(test)]
mod tests;
