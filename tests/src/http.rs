//! One HTTP/1.1 GET, for health and metrics endpoints.

use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The status and body of `GET http://{address}{path}`; the error as text, for [`crate::wait::until`].
pub async fn get(address: &str, path: &str) -> Result<(StatusCode, String), String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let request = Request::get(path).header("host", address).body(Empty::<bytes::Bytes>::new());
        let response = sender.send_request(request.map_err(|error| error.to_string())?);
        let (parts, body) = response.await.map_err(|error| error.to_string())?.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((parts.status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        result = &mut exchange => result,
        // The connection may end in the same moment as the answer that it carried.
        _ = &mut connection => exchange.await,
    }
}

/// The body of a 200 answer.
pub async fn get_ok(address: &str, path: &str) -> Result<String, String> {
    match get(address, path).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, body) => Err(format!("GET {path}: {status}: {body}")),
    }
}
