//! The KV service.

pub mod compact;
pub mod exchange;
pub mod forward;
pub mod leased;
pub mod open;
pub mod parts;
pub mod range;
pub mod span;
pub mod stream;
pub mod translated;
pub mod typed;
pub mod write;
