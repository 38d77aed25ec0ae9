//! A proxy that knows nothing: bytes in, bytes out.

use std::io;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

use crate::error::BenchError;

const BUFFER: usize = 64 * 1024;

/// Accepts on `listen` and connects to `to`, for as long as the process lives.
pub(crate) async fn run(listen: SocketAddr, to: SocketAddr) -> Result<(), BenchError> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|cause| BenchError::io(format!("listen on {listen}"), cause))?;
    loop {
        let (client, _) =
            listener.accept().await.map_err(|cause| BenchError::io("accept a connection", cause))?;
        tokio::spawn(async move {
            if let Err(error) = copy(client, to).await {
                eprintln!("a connection to {to}: {error}");
            }
        });
    }
}

async fn copy(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await?;
    Ok(())
}
