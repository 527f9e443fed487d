//! What a worker knows of itself: its numbers, and the spans of its requests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rustix::process::Signal;
use slotway_tests::http;
use slotway_tests::system::{HubPart, wait_until};
use slotway_worker_sdk::response::Rejection;
use slotway_worker_sdk::tower::request_span;
use slotway_worker_sdk::{HubWorker, WorkerMetrics};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn worker(hub: &HubPart, name: &str) -> HubWorker<()> {
    HubWorker::new(&hub.url(), name, ()).hub_socket(&hub.socket)
}

slotway_tests::on_each_engine! {
    a_worker_counts_its_requests_the_time_they_took_and_its_sessions
}

fn a_worker_counts_its_requests_the_time_they_took_and_its_sessions(io: &str) {
    let mut hub = HubPart::start(program(), &["--io", io]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let worker = worker(&hub, "counted")
        .get("/sync", || {
            std::thread::sleep(Duration::from_millis(3));
            "done"
        })
        .get("/async", async || {
            tokio::time::sleep(Duration::from_millis(5)).await;
            "done"
        })
        .get("/bad", || Err::<(), _>(Rejection::internal("no")))
        .get("/panic", || -> &'static str { panic!("as it should") });
    let reader = worker.metrics();
    assert_eq!(reader.read(), WorkerMetrics::default());
    let running = worker.start().unwrap();
    hub.part.wait_for_log("attached");
    for path in ["/sync", "/async", "/async", "/bad", "/panic"] {
        http::get(hub.address, path);
    }
    let mut now = running.metrics();
    wait_until("all have ended", || {
        now = running.metrics();
        now.in_flight == 0
    });
    assert_eq!((now.requests, now.failed), (5, 1), "{now:?}");
    assert!(now.handler_time >= Duration::from_millis(13), "{now:?}");
    assert!(now.handler_time < Duration::from_secs(5), "{now:?}");
    assert_eq!(
        (now.reconnects, now.lost_wakes, now.is_attached),
        (0, 0, true)
    );

    let port = hub.address.port().to_string();
    let socket = hub.socket.to_str().unwrap().to_owned();
    hub.part.signal(Signal::KILL);
    hub.part.wait();
    wait_until("it has lost its hub", || !running.metrics().is_attached);
    let mut next = slotway_tests::system::Part::start(
        program(),
        "hub",
        &["--port", &port, "--socket", &socket, "--io", io],
    );
    next.first_line();
    wait_until("it is back", || running.metrics().is_attached);
    assert_eq!(reader.read().reconnects, 1);
    assert_eq!(reader.read().requests, 5, "over all sessions");
    running.stop();
    running.wait().unwrap();
    next.signal(Signal::TERM);
    next.wait();
}

/// Fields of a span by their names.
type Fields = BTreeMap<String, String>;

/// Collects the spans that end, and in which span each event was.
#[derive(Clone, Default)]
struct Spans {
    closed: Arc<Mutex<Vec<Fields>>>,
    events: Arc<Mutex<Vec<Option<String>>>>,
}

struct Collect<'f>(&'f mut Fields);

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}").trim_matches('"').to_owned();
        self.0.insert(field.name().to_owned(), value);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Collect(&mut fields));
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new();
        event.record(&mut Collect(&mut fields));
        if fields
            .get("message")
            .is_some_and(|message| message == "in the handler")
        {
            let span = context.lookup_current();
            let id =
                span.and_then(|span| span.extensions().get::<Fields>()?.get("trace_id").cloned());
            self.events.lock().unwrap().push(id);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        if let Some(fields) = span.extensions().get::<Fields>() {
            self.closed.lock().unwrap().push(fields.clone());
        }
    }
}

#[test]
fn a_service_s_requests_have_spans_that_know_the_client_s_trace() {
    let spans = Spans::default();
    // This process has no other test that logs through it.
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let hub = HubPart::start(program(), &["--request-id"]);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let router = || {
        Router::new().route(
            "/later",
            get(async || {
                tokio::time::sleep(Duration::from_millis(5)).await;
                tracing::info!("in the handler");
                (axum::http::StatusCode::ACCEPTED, "ok")
            }),
        )
    };
    let plain = worker(&hub, "plain")
        .service("/", router())
        .start()
        .unwrap();
    hub.part.wait_for_log("attached worker=\"plain\"");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = "b7ad6b7169203331";
    let field = format!("Traceparent: 00-{trace}-{parent}-01\r\nX-Request-Id: r-1\r\n");
    assert_eq!(
        http::get_with(hub.address, "/later?secret=1", &field).status,
        202
    );
    wait_until("its span has ended", || {
        !spans.closed.lock().unwrap().is_empty()
    });
    let span = spans.closed.lock().unwrap().remove(0);
    for (name, value) in [
        ("trace_id", trace),
        ("parent_span_id", parent),
        ("request_id", "r-1"),
        ("http.request.method", "GET"),
        ("url.path", "/later"),
        ("http.response.status_code", "202"),
        ("otel.kind", "server"),
    ] {
        assert_eq!(
            span.get(name).map(String::as_str),
            Some(value),
            "{name}: {span:?}"
        );
    }
    let seen = spans.events.lock().unwrap().clone();
    assert_eq!(seen, [Some(trace.to_owned())], "the handler ran within it");
    plain.stop();
    plain.wait().unwrap();

    // A service that says how: before or after the service is added.
    let own = worker(&hub, "own")
        .service("/", router())
        .make_span(|request| {
            let span = tracing::info_span!("mine", trace_id = "made by hand");
            // The usual one may be part of it.
            span.in_scope(|| drop(request_span(request)));
            span
        });
    let own = own.start().unwrap();
    hub.part.wait_for_log("worker=\"own\"");
    assert_eq!(http::get(hub.address, "/later").status, 202);
    wait_until("its span has ended", || {
        let closed = spans.closed.lock().unwrap();
        closed
            .iter()
            .any(|span| span.get("trace_id").is_some_and(|id| id == "made by hand"))
    });
    own.stop();
    own.wait().unwrap();
}
