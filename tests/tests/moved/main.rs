//! A route that was moved, as clients see it: as if nothing had happened.

mod elections;
mod handover;
mod reads;
mod refused;
mod rig;
mod streams;
mod watches;
mod writes;
