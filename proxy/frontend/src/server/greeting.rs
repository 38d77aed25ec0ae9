//! A deadline on the first bytes of an HTTP/2 connection. hyper waits for them without one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The preface and the head of the SETTINGS frame that must follow, in bytes.
const FIRST_BYTES: usize = 24 + 9;

/// A connection whose reads fail once its first bytes are overdue. From then on it only passes through.
pub(super) struct Greeting<S> {
    stream: S,
    waiting: Option<Waiting>,
}

struct Waiting {
    /// Bytes still to come.
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Greeting<S> {
    /// Gives the client `patience` from now.
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        let deadline = Box::pin(tokio::time::sleep(patience));
        Self { stream, waiting: Some(Waiting { left: FIRST_BYTES, deadline }) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some(waiting) = &mut this.waiting else { return read };
        if read.is_pending() {
            return waiting.deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        waiting.left = waiting.left.saturating_sub(buf.filled().len() - before);
        if waiting.left == 0 {
            this.waiting = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const PATIENCE: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn dripping_does_not_buy_time() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut greeting = Greeting::new(server, PATIENCE);
        let drips = tokio::spawn(async move {
            while client.write_all(b"P").await.is_ok() {
                tokio::time::sleep(PATIENCE / 20).await;
            }
        });
        let start = tokio::time::Instant::now();
        let mut all = Vec::new();
        let end = greeting.read_to_end(&mut all).await;
        assert_eq!(end.map_err(|e| e.kind()), Err(io::ErrorKind::TimedOut));
        assert!(start.elapsed() >= PATIENCE && !all.is_empty());
        drop(greeting);
        drips.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_greeted_may_be_silent() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut greeting = Greeting::new(server, PATIENCE);
        client.write_all(&[0; FIRST_BYTES]).await.unwrap();
        greeting.read_exact(&mut [0; FIRST_BYTES]).await.unwrap();
        let later = tokio::spawn(async move {
            tokio::time::sleep(2 * PATIENCE).await;
            client.write_all(b"x").await.unwrap();
        });
        assert_eq!(greeting.read_u8().await.unwrap(), b'x');
        later.await.unwrap();
    }
}
