//! TLS towards clients and towards shards: who is let in, who is not, and what happens when the files change.

mod certs;
mod client;
mod handshakes;
mod loris;
mod mutual;
mod reload;
mod shard;
mod tls_etcd;
