//! A trace that a client, or the hub, has begun goes on in a service that has a layer of
//! OpenTelemetry, as docs/workers.md says.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanKind, TraceId, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use slotway_tests::http;
use slotway_tests::system::{HubPart, wait_until};
use slotway_worker_sdk::HubWorker;
use slotway_worker_sdk::tower::request_span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

struct Fields<'f>(&'f axum::http::HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(axum::http::HeaderName::as_str).collect()
    }
}

#[test]
fn a_trace_that_a_client_or_the_hub_has_begun_goes_on_in_the_service() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("service"));
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let program = Path::new(env!("CARGO_BIN_EXE_demo"));
    let hub = HubPart::start(program, &["--trace-context"]);
    let router = Router::new().route(
        "/inner",
        get(async |headers: axum::http::HeaderMap| {
            let inner = tracing::info_span!("inner");
            tracing::Instrument::instrument(tokio::time::sleep(Duration::from_millis(3)), inner)
                .await;
            headers["traceparent"].to_str().unwrap().to_owned()
        }),
    );
    let worker = HubWorker::new(&hub.url(), "traced", ())
        .hub_socket(&hub.socket)
        .service("/", router)
        .make_span(|request| {
            let span = request_span(request);
            let context = TraceContextPropagator::new().extract(&Fields(request.headers()));
            span.set_parent(context).expect("it has not begun");
            span
        })
        .start()
        .unwrap();
    hub.part.wait_for_log("attached");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let field = format!("Traceparent: 00-{trace}-b7ad6b7169203331-01\r\n");
    for sent in [field.as_str(), ""] {
        exporter.reset();
        let traceparent = http::get_with(hub.address, "/inner", sent).text();
        let parts: Vec<_> = traceparent.split('-').collect();
        assert_eq!(
            parts[1] == trace,
            !sent.is_empty(),
            "the hub begins one if there is none"
        );
        let mut spans = Vec::new();
        wait_until("both spans have ended", || {
            spans = exporter.get_finished_spans().unwrap();
            spans.len() == 2
        });
        let own = TraceId::from_hex(parts[1]).unwrap();
        let [inner, request] = &spans[..] else {
            panic!("{spans:?}");
        };
        assert_eq!((&*inner.name, &*request.name), ("inner", "request"));
        assert_eq!(request.span_kind, SpanKind::Server);
        for span in [inner, request] {
            assert_eq!(span.span_context.trace_id(), own);
        }
        assert_eq!(request.parent_span_id.to_string(), parts[2]);
        assert_eq!(inner.parent_span_id, request.span_context.span_id());
    }
    worker.stop();
    worker.wait().unwrap();
}
