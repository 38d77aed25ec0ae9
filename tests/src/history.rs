//! What really happened on a shard, asked of the shard itself.

use etcd_prism_proto::mvccpb::Event;

use crate::client::Client;
use crate::request::{get, watch_prefix};
use crate::watch_check::{WatcherLog, is_progress, revision};
use crate::watch_stream::WatchStream;

/// The revision that `shard` is at.
pub async fn current_revision(shard: &Client) -> i64 {
    let reply = shard.kv().range(get("\0")).await.expect("a read of the shard").into_inner();
    reply.header.expect("a header").revision
}

/// Every event below `prefix` from revision `from` to `to`, both inclusive, with previous values. `from` must not be
/// compacted.
pub async fn history(shard: &Client, prefix: &[u8], from: i64, to: i64) -> Vec<Event> {
    let mut stream = WatchStream::open(shard);
    let mut request = watch_prefix(prefix);
    request.start_revision = from;
    let mut log = WatcherLog::new(request.clone());
    stream.create(request).await;
    // The shard answers a progress request only when everything up to now was sent.
    loop {
        stream.send_progress_request();
        match stream.try_next(std::time::Duration::from_millis(100)).await {
            Ok(response) => {
                assert!(!response.canceled, "the history from {from} on is gone: {response:?}");
                let done = is_progress(&response) && crate::watch_check::header_revision(&response) >= to;
                log.responses.push(response);
                if done {
                    break;
                }
            }
            Err(crate::watch_stream::WatchEnd::Silence(_)) => {}
            Err(end) => panic!("reading the history of a shard: {end}"),
        }
    }
    log.check().expect("the shard itself keeps etcd's promises");
    log.events().filter(|event| revision(event) <= to).cloned().collect()
}
