//! Shipping a route's log between real etcd processes: whatever is killed, dropped, compacted or refused, the standby holds
//! what the owner had at one revision, with the numbers that clients know.

mod copy;
mod ended;
mod faults;
mod holes;
mod leases;
mod log;
mod purge;
mod reverse;
mod rig;
mod verify;
