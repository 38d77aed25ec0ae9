//! A route that was moved, as clients see it: as if nothing had happened.

mod reads;
mod rig;
mod watches;
mod writes;
