//! What clients build on ownership: locks, elections and leases, over two proxies.

mod elections;
mod fences;
mod hidden;
mod leases;
mod leases_halfway;
mod leases_ids;
mod leases_lost;
mod leases_race;
mod locks;
mod locks_fenced;
mod locks_released;
mod same;
mod site;
mod unrecorded;
mod woken;
