//! Ownership on real etcd: fences, sessions, identities.

mod apply;
mod auth;
mod cli;
mod first;
mod floors;
mod full;
mod identity;
mod rig;
mod session;
