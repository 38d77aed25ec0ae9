//! What is in etcd before the load starts.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::client::connection::{Connection, Method};
use crate::client::request::{self, PREFIX};
use crate::error::BenchError;
use crate::works::Work;

const AT_ONCE: usize = 64;
/// Behind the keys of all works.
const FILLER: &str = "/registry/pods/filler/";
const FILLER_SIZE: usize = 256;

/// Puts the keys that `work` reads.
pub(crate) async fn populate(address: SocketAddr, work: Work) -> Result<(), BenchError> {
    let (keys, size) = work.population();
    put_all(address, keys, key, size).await
}

/// Puts keys of the same route that no work reads.
pub(crate) async fn fill(address: SocketAddr, keys: usize) -> Result<(), BenchError> {
    put_all(address, keys, |number| Bytes::from(format!("{FILLER}{number:06}")), FILLER_SIZE).await
}

async fn put_all(
    address: SocketAddr,
    keys: usize,
    key: impl Fn(usize) -> Bytes,
    size: usize,
) -> Result<(), BenchError> {
    let caller = Connection::open(address).await?.caller(Method::Put)?;
    let value = value(size);
    stream::iter(0..keys)
        .map(|number| {
            let (mut caller, key, value) = (caller.clone(), key(number), value.clone());
            async move { caller.call(request::frame(&request::put(key, value))?).await.map(drop) }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// The key with this number.
pub(crate) fn key(number: usize) -> Bytes {
    Bytes::from(format!("{PREFIX}object-{number:06}"))
}

/// A value of `size` bytes that differ.
pub(crate) fn value(size: usize) -> Bytes {
    (0..size).map(|index| b'a' + (index % 26) as u8).collect()
}
