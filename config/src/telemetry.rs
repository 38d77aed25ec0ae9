//! Reads `[log]` and `[trace]`.

use crate::config::{Log, LogFormat, LogLevel, Trace};
use crate::errors::Problems;
use crate::reader::Reader;
use crate::value;

#[cfg(test)]
mod tests;

pub(crate) fn read_log(mut reader: Reader<'_>, problems: &mut Problems) -> Log {
    let default = Log::default();
    let level = reader.or(problems, "level", default.level, value::choice(LogLevel::ALL, LogLevel::as_str));
    let format =
        reader.or(problems, "format", default.format, value::choice(LogFormat::ALL, LogFormat::as_str));
    reader.finish(problems);
    Log { level, format }
}

pub(crate) fn read_trace(mut reader: Reader<'_>, problems: &mut Problems) -> Trace {
    let otlp_endpoint =
        reader.optional(problems, "otlp_endpoint", value::endpoint).map(|found| found.value.url);
    reader.finish(problems);
    Trace { otlp_endpoint }
}
