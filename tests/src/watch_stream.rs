//! One watch stream, with a deadline on every wait.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_prism_proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
    watch_request::RequestUnion,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Status, Streaming};

use crate::client::Client;
use crate::wait::DEADLINE;

/// Why a stream gave no more responses.
#[derive(Debug, thiserror::Error)]
pub enum WatchEnd {
    #[error("the stream ended with {0:?}")]
    Status(Status),
    #[error("the stream ended without a status")]
    Eof,
    #[error("no response within {0:?}")]
    Silence(Duration),
}

enum Answers {
    // A server may send its headers with the first response, so the call must not be awaited before a create is sent.
    Opening(JoinHandle<Result<tonic::Response<Streaming<WatchResponse>>, Status>>),
    Open(Box<Streaming<WatchResponse>>),
}

/// The client side of one `Watch` call. Dropping it cancels the call.
pub struct WatchStream {
    requests: Option<mpsc::UnboundedSender<WatchRequest>>,
    answers: Answers,
    // Responses that `created` and the like read over.
    kept: VecDeque<WatchResponse>,
}

impl WatchStream {
    pub fn open(client: &Client) -> Self {
        Self::open_with(client, &[])
    }

    /// As kube-apiserver opens it: a member without a leader ends the stream.
    pub fn open_with_leader(client: &Client) -> Self {
        Self::open_with(client, &[("hasleader", "true")])
    }

    pub fn open_with(client: &Client, metadata: &[(&'static str, &'static str)]) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let mut call = Request::new(UnboundedReceiverStream::new(receiver));
        for (name, value) in metadata {
            call.metadata_mut().insert(*name, tonic::metadata::MetadataValue::from_static(value));
        }
        let mut service = client.watch();
        let answers = Answers::Opening(tokio::spawn(async move { service.watch(call).await }));
        Self { requests: Some(requests), answers, kept: VecDeque::new() }
    }

    /// Sends a create without waiting for its answer.
    pub fn send_create(&self, request: WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request));
    }

    pub fn send_cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    pub fn send_progress_request(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    /// Sends a request without any of its variants, which etcd ignores.
    pub fn send_nothing(&self) {
        self.sender().send(WatchRequest { request_union: None }).expect("the stream is open");
    }

    /// Ends the client's side; the server goes on sending.
    pub fn half_close(&mut self) {
        self.requests = None;
    }

    /// Sends a create and waits for its `created` answer; other responses are kept for [`next`](Self::next).
    pub async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.send_create(request);
        self.wait_for("created", |response| response.created).await
    }

    /// The next response. Panics when none comes within [`DEADLINE`] or the stream ends.
    pub async fn next(&mut self) -> WatchResponse {
        self.try_next(DEADLINE).await.unwrap_or_else(|end| panic!("waiting for a watch response: {end}"))
    }

    /// The next response, or why there is none within `limit`.
    pub async fn try_next(&mut self, limit: Duration) -> Result<WatchResponse, WatchEnd> {
        match self.kept.pop_front() {
            Some(response) => Ok(response),
            None => self.receive(Instant::now() + limit, limit).await,
        }
    }

    /// The first response that `wanted` accepts; those before it are kept for [`next`](Self::next).
    pub async fn wait_for(&mut self, what: &str, wanted: impl Fn(&WatchResponse) -> bool) -> WatchResponse {
        if let Some(index) = self.kept.iter().position(&wanted) {
            return self.kept.remove(index).expect("an index that was just found");
        }
        let end = Instant::now() + DEADLINE;
        loop {
            match self.receive(end, DEADLINE).await {
                Ok(response) if wanted(&response) => return response,
                Ok(response) => self.kept.push_back(response),
                Err(end) => panic!("waiting for '{what}': {end}; responses before it: {:?}", self.kept),
            }
        }
    }

    /// Reads on until the stream ends, and answers how. Panics when it does not end within [`DEADLINE`].
    pub async fn wait_for_end(&mut self) -> WatchEnd {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.receive(end, DEADLINE).await {
                Ok(_) => {}
                Err(WatchEnd::Silence(limit)) => panic!("the stream did not end within {limit:?}"),
                Err(end) => return end,
            }
        }
    }

    fn sender(&self) -> &mpsc::UnboundedSender<WatchRequest> {
        self.requests.as_ref().expect("the client's side was closed")
    }

    fn send(&self, request: RequestUnion) {
        // A stream that has ended says so to whoever reads it next.
        self.sender().send(WatchRequest { request_union: Some(request) }).ok();
    }

    async fn receive(&mut self, end: Instant, limit: Duration) -> Result<WatchResponse, WatchEnd> {
        if let Answers::Opening(call) = &mut self.answers {
            let opened = timeout_at(end, call).await.map_err(|_| WatchEnd::Silence(limit))?;
            let response = opened.expect("the call's task").map_err(WatchEnd::Status)?;
            self.answers = Answers::Open(Box::new(response.into_inner()));
        }
        let Answers::Open(stream) = &mut self.answers else { unreachable!("opened above") };
        match timeout_at(end, stream.message()).await {
            Err(_) => Err(WatchEnd::Silence(limit)),
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Ok(None)) => Err(WatchEnd::Eof),
            Ok(Err(status)) => Err(WatchEnd::Status(status)),
        }
    }
}
