//! Generates the Rust types of the etcd API. `PROTOC` comes from `.cargo/config.toml`.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = PathBuf::from(std::env::var("OUT_DIR")?).join("etcd.bin");
    tonic_prost_build::configure()
        // Slices of the received message instead of a copy per key and value.
        .bytes(".")
        .file_descriptor_set_path(descriptors)
        .compile_protos(
            &[
                "proto/etcdserverpb/rpc.proto",
                "proto/v3lockpb/v3lock.proto",
                "proto/v3electionpb/v3election.proto",
            ],
            &["proto"],
        )?;
    Ok(())
}
