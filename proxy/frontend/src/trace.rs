//! Spans for requests whose client sampled its own: an API server's trace goes on through the proxy to the shard.

use etcd_prism_wire::Code;
use http::HeaderMap;
use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Starts spans; without an exporter it does nothing and trace headers pass through unchanged.
#[derive(Default)]
pub struct Tracer {
    tracer: Option<BoxedTracer>,
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("exports", &self.tracer.is_some()).finish()
    }
}

/// A request's span, if it has one.
#[derive(Debug, Default)]
pub struct RequestSpan {
    span: Option<BoxedSpan>,
}

impl Tracer {
    pub fn new(tracer: BoxedTracer) -> Self {
        Self { tracer: Some(tracer) }
    }

    /// Starts a span as child of the client's, if that is sampled, and makes it the parent of the shard's.
    pub fn start(&self, headers: &mut HeaderMap, method: &'static str) -> RequestSpan {
        let Some(tracer) = &self.tracer else { return RequestSpan::default() };
        let propagator = TraceContextPropagator::new();
        let parent = propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers));
        if !parent.span().span_context().is_sampled() {
            return RequestSpan::default();
        }
        let name = method.trim_start_matches('/');
        let span = tracer.span_builder(name).with_kind(SpanKind::Server).start_with_context(tracer, &parent);
        let own = Context::new().with_remote_span_context(span.span_context().clone());
        propagator.inject_context(&own, &mut HeaderInjector(headers));
        RequestSpan { span: Some(span) }
    }
}

impl RequestSpan {
    /// Ends the span. `route` is the label that metrics have too.
    pub fn finish(self, route: &str, code: Code) {
        let Some(mut span) = self.span else { return };
        span.set_attribute(KeyValue::new("rpc.system", "grpc"));
        span.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
        span.set_attribute(KeyValue::new("etcd_prism.route", route.to_owned()));
        if code != Code::Ok {
            span.set_status(Status::error(code.name()));
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn continues_sampled_traces_only() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let tracer = Tracer::new(BoxedTracer::new(Box::new(provider.tracer("test"))));
        for (parent, spans) in
            [(None, 0), (Some(SAMPLED.replace("-01", "-00")), 0), (Some(SAMPLED.to_owned()), 1)]
        {
            let mut headers = HeaderMap::new();
            if let Some(parent) = &parent {
                headers.insert("traceparent", HeaderValue::try_from(parent).unwrap());
            }
            tracer.start(&mut headers, "/etcdserverpb.KV/Range").finish("pods", Code::Ok);
            let finished = exporter.get_finished_spans().unwrap();
            assert_eq!(finished.len(), spans);
            let passed_on = headers.get("traceparent").map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(passed_on == parent, spans == 0);
            if let (Some(passed_on), Some(span)) = (passed_on, finished.first()) {
                assert_eq!(passed_on[..36], SAMPLED[..36]);
                assert_eq!(passed_on[36..52], span.span_context.span_id().to_string());
                assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
            }
        }
    }
}
