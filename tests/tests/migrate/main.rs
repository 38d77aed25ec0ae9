//! A route is moved between real etcd clusters while clients work on it.

mod faults;
mod leases;
mod load;
mod online;
mod pauses;
mod rig;
mod standbys;
