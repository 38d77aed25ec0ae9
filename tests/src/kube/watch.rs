//! One watch of the Kubernetes API.

use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use super::objects;

/// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`, and its object.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    pub kind: String,
    pub object: Value,
}

impl WatchEvent {
    pub fn resource_version(&self) -> u64 {
        objects::resource_version(&self.object)
    }
}

/// A stream of events. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    body: Incoming,
    unread: BytesMut,
}

impl Watch {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, unread: BytesMut::new() }
    }

    /// The next event; `None` when the server has ended the watch.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(end + 1);
                return parse(&line).map(Some);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.unread.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None if self.unread.is_empty() => return Ok(None),
                None => return Err("the watch ended inside an event".to_owned()),
            }
        }
    }

    /// The first event that `wanted` accepts. Panics when the watch ends or none comes within `limit`.
    pub async fn wait_for(
        &mut self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&WatchEvent) -> bool,
    ) -> WatchEvent {
        let find = async {
            loop {
                match self.next().await {
                    Ok(Some(event)) if wanted(&event) => return event,
                    Ok(Some(_)) => {}
                    end => panic!("the watch ended before {what}: {end:?}"),
                }
            }
        };
        timeout(limit, find).await.unwrap_or_else(|_| panic!("no {what} on a watch within {limit:?}"))
    }
}

fn parse(line: &[u8]) -> Result<WatchEvent, String> {
    let mut event: Value =
        serde_json::from_slice(line).map_err(|error| format!("no JSON in a watch: {error}"))?;
    let kind = event["type"].as_str().ok_or("an event without a type")?.to_owned();
    Ok(WatchEvent { kind, object: event["object"].take() })
}
