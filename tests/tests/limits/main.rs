//! x
mod malformed;
mod passed_on;
mod rig;
