//! Moves routes between shards: the IO around the migration engine of `etcd-prism-ownership`.

pub mod ship;
