//! Processes, ports and folders of this machine.

pub(crate) mod machine;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod procfs;
pub(crate) mod scratch;
