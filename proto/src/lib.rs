//! The etcd v3 API: generated messages, clients and servers.
//!
//! The hot path of the proxy does not use these types (it works on bytes, see `etcd-prism-wire`); the control path,
//! the rarer methods and the tests do. Fields of type `bytes` are [`bytes::Bytes`], slices of the received message.

#![allow(clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}
pub mod authpb {
    tonic::include_proto!("authpb");
}
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// The API's file descriptors, as gRPC reflection serves them.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("etcd");
