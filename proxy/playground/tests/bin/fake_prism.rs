//! Stands in for the binary etcd-prism where only the playground is tested:
//!
//! - `fake-prism playground LISTEN DATA_DIR PROXIES ETCD` runs a playground with itself as the proxy;
//! - `fake-prism serve --config FILE` answers every request at the admin address with 200. At SIGTERM it writes how
//!   many shards still listen, and ends.

use std::error::Error;
use std::io::Write;
use std::net::{AddrParseError, SocketAddr};
use std::process::ExitCode;

use etcd_prism_playground::{Options, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["playground", listen, data_dir, proxies, etcd] => playground(listen, data_dir, proxies, etcd).await,
        ["serve", "--config", file] => serve(file).await,
        _ => Err(format!("unknown arguments: {args:?}").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn playground(listen: &str, data_dir: &str, proxies: &str, etcd: &str) -> Result<(), Box<dyn Error>> {
    let mut options = Options::new(std::env::current_exe()?);
    options.listen = listen.parse()?;
    options.data_dir = data_dir.into();
    options.proxies = proxies.parse()?;
    options.etcd = Some(etcd.into());
    Ok(run(options).await?)
}

async fn serve(file: &str) -> Result<(), Box<dyn Error>> {
    let config = std::fs::read_to_string(file)?;
    let admin = addresses(&config, "admin")?.pop().ok_or("no admin address")?;
    let shards = addresses(&config, "endpoints")?;
    let admin = TcpListener::bind(admin).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = admin.accept() => answer(accepted?.0).await?,
            _ = terminate.recv() => break,
        }
    }
    let mut up = 0;
    for shard in shards {
        up += usize::from(TcpStream::connect(shard).await.is_ok());
    }
    writeln!(std::io::stderr(), "SIGTERM with {up} shards up")?;
    Ok(())
}

/// The address in every line `key = "address"` or `key = ["http://address"]`.
fn addresses(config: &str, key: &str) -> Result<Vec<SocketAddr>, AddrParseError> {
    let values = config.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    values.map(|value| value.trim_matches(['[', ']', '"']).trim_start_matches("http://").parse()).collect()
}

async fn answer(mut client: TcpStream) -> Result<(), Box<dyn Error>> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && client.read_buf(&mut request).await? > 0 {}
    client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await?;
    Ok(())
}
