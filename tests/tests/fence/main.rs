//! Fences on real etcd.

mod wire;
