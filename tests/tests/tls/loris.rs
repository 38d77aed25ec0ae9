//! Clients that begin a handshake and do not go on.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::works;
use crate::mutual::Site;

/// Ten seconds for the handshake, ten for what follows, and what a busy machine may add.
const BOUND: Duration = Duration::from_secs(40);

#[tokio::test]
async fn handshakes_that_do_not_go_on_are_let_go() {
    let site = Site::start(&[]).await;
    let address = site.address();
    let mut waits = tokio::task::JoinSet::new();
    // A ClientHello of which the rest never comes.
    for beginning in [&b""[..], &[0x16], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]]
    {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        stream.write_all(beginning).await.expect("the beginning");
        waits.spawn(async move {
            let end = tokio::time::timeout(BOUND, stream.read_to_end(&mut Vec::new())).await;
            assert!(end.is_ok(), "still open after {beginning:x?}");
        });
    }
    // A handshake that is complete, and nothing or half a preface behind it.
    for beginning in [&b""[..], b"PRI", b"PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut stream = site.dialler().handshake(&address).await.expect("TLS");
        stream.write_all(beginning).await.expect("the beginning");
        stream.flush().await.expect("the beginning");
        waits.spawn(async move {
            let end = tokio::time::timeout(BOUND, stream.read_to_end(&mut Vec::new())).await;
            assert!(end.is_ok(), "still open after a handshake and {beginning:?}");
        });
    }
    let (connection, _) = site.dialler().connect(&address).await.expect("a client that goes on");
    while let Some(wait) = waits.join_next().await {
        wait.expect("a connection that is let go");
        works(&connection, "/registry/pods/a").await.expect("the others go on");
    }
}
