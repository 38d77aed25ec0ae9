//! An unmodified kube-apiserver over several shards. `ETCD_PRISM_KUBE` names the minors to try.

mod faults;
mod moves;
mod objects;
mod reads;
mod site;
mod two_minors;
