//! Reads `[ownership]`.

use std::time::Duration;

use toml::de::DeValue;

use crate::config::Ownership;
use crate::errors::Problems;
use crate::reader::{Mistake, Reader};
use crate::value;

#[cfg(test)]
mod tests;

/// etcd grants no shorter lease than one and a half election timeouts; renewals need a third of it.
const TTL: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(300);

pub(crate) fn read(mut reader: Reader<'_>, problems: &mut Problems) -> Ownership {
    let default = Ownership::default();
    let fences = reader.or(problems, "fences", default.fences, value::boolean);
    let ttl = value::duration(TTL);
    let session_ttl = reader.or(problems, "session_ttl", default.session_ttl, |value: &DeValue<'_>| {
        let ttl = ttl(value)?;
        // etcd counts leases in seconds.
        if ttl.subsec_nanos() != 0 {
            return Err(Mistake::new("not whole seconds", "write seconds, such as \"10s\""));
        }
        Ok(ttl)
    });
    let name = reader.optional(problems, "name", value::line).map(|found| found.value);
    reader.finish(problems);
    Ownership { fences, session_ttl, name }
}
