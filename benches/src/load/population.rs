//! What is in etcd before the load starts.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::client::connection::{Connection, Method};
use crate::client::request::{self, PREFIX};
use crate::error::BenchError;
use crate::works::Work;

const AT_ONCE: usize = 64;

/// Puts the keys that `work` reads.
pub(crate) async fn populate(address: SocketAddr, work: Work) -> Result<(), BenchError> {
    let (keys, size) = work.population();
    let caller = Connection::open(address).await?.caller(Method::Put)?;
    let value = value(size);
    stream::iter(0..keys)
        .map(|number| {
            let (mut caller, value) = (caller.clone(), value.clone());
            async move { caller.call(request::frame(&request::put(key(number), value))?).await.map(drop) }
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
