//! A route is moved between real etcd clusters while clients work on it.

mod cell;
mod ends;
mod fault;
mod faults;
mod fences;
mod follow;
mod judge;
mod leases;
mod load;
mod matrix;
mod online;
mod pauses;
mod rig;
mod site;
mod sizes;
mod standbys;
mod steps;
mod work;
