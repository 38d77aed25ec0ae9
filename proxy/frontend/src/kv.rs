//! The KV service.

pub mod compact;
pub mod forward;
pub mod range;
pub mod span;
pub mod stream;
pub mod write;
