//! Builds replies.

use bytes::Bytes;
use etcd_prism_wire::{Code, Status, frame};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response};

use crate::body::ResponseBody;
use crate::kv::parts::Parts;

pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A reply that consists of a body; its status comes in trailers.
pub fn with_body(body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// A reply of one message.
pub fn message(parts: &[&[u8]]) -> Response<ResponseBody> {
    ready(frame::encode(parts))
}

/// The same of a message that is a frame already.
pub fn ready(frame: Bytes) -> Response<ResponseBody> {
    let trailers = Some(trailers(&Status::new(Code::Ok, "")));
    with_body(ResponseBody::Ready { data: Some(frame), trailers })
}

/// The same of a frame in parts.
pub fn parts(frame: Parts) -> Response<ResponseBody> {
    let trailers = Some(trailers(&Status::new(Code::Ok, "")));
    with_body(ResponseBody::Parts { parts: frame, trailers })
}

/// A reply that consists of a status.
pub fn status(status: &Status) -> Response<ResponseBody> {
    let mut response = with_body(ResponseBody::Empty);
    response.headers_mut().extend(trailers(status));
    response
}

/// A shard's reply that consists of headers, passed on as it is.
pub fn early(headers: HeaderMap) -> Response<ResponseBody> {
    let mut response = with_body(ResponseBody::Empty);
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response.headers_mut().remove("grpc-encoding");
    response.headers_mut().remove("grpc-accept-encoding");
    response
}

/// A status as trailers.
pub fn trailers(status: &Status) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(2);
    out.insert(GRPC_STATUS, code_value(status.code));
    // Percent-encoding leaves only what a header value may hold.
    if !status.message.is_empty()
        && let Ok(message) = HeaderValue::try_from(status.encoded_message())
    {
        out.insert(GRPC_MESSAGE, message);
    }
    out
}

fn code_value(code: Code) -> HeaderValue {
    if code == Code::Ok { HeaderValue::from_static("0") } else { HeaderValue::from(code as u16) }
}

/// A message of the generated types as a reply.
pub fn typed<M: prost::Message>(reply: &M) -> Response<ResponseBody> {
    message(&[&reply.encode_to_vec()])
}

/// A reply of bytes over HTTP/1.1.
pub fn http(
    code: http::StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Http(http_body_util::Full::new(body.into())));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
