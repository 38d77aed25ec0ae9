//! gRPC reflection, v1 and v1alpha, of the API that the proxy serves.

use std::sync::OnceLock;

use etcd_prism_wire::{Code, Status};
use http::{Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use tonic::service::Routes;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::context::Context;
use crate::error::RequestError;

/// The beginning of the paths of both versions.
pub const PACKAGE: &str = "/grpc.reflection.";
/// Longest message of a client, in bytes: a request is one name.
const MAX_REQUEST: usize = 64 << 10;

/// Answers a stream of requests.
///
/// # Errors
/// `Internal` if the descriptors that were built in cannot be read.
pub async fn handle(
    cx: &Context,
    path: &'static str,
    body: Incoming,
) -> Result<Response<ResponseBody>, RequestError> {
    let mut routes = routes()?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = Uri::from_static(path);
    *request.headers_mut() = (*cx.headers).clone();
    let response = match routes.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    Ok(response.map(ResponseBody::Tonic))
}

fn routes() -> Result<Routes, Status> {
    static ROUTES: OnceLock<Result<Routes, String>> = OnceLock::new();
    let built = ROUTES.get_or_init(|| build().map_err(|e| e.to_string()));
    built.clone().map_err(|e| Status::new(Code::Internal, format!("etcd-prism: reflection: {e}")))
}

fn build() -> Result<Routes, tonic_reflection::server::Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(etcd_prism_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(MAX_REQUEST);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(MAX_REQUEST);
    Ok(Routes::new(v1).add_service(v1alpha).prepare())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_descriptors_can_be_read() {
        assert!(super::build().is_ok());
    }
}
