//! Export of spans over OTLP.

use anyhow::Context;
use etcd_prism_frontend::trace::Tracer;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// The tracer, and the provider that has to be shut down at the end so that the last spans leave.
pub(crate) fn start(endpoint: Option<&str>) -> anyhow::Result<(Tracer, Option<SdkTracerProvider>)> {
    let Some(endpoint) = endpoint else { return Ok((Tracer::default(), None)) };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .context("trace.otlp_endpoint")?;
    let resource = Resource::builder().with_service_name("etcd-prism").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("etcd-prism")));
    Ok((Tracer::new(tracer), Some(provider)))
}
