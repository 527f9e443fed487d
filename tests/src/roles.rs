//! The parts a process can play.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{PTracer, set_ptracer};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
use slotway_loadgen::echo::{Echo, Stall};
use slotway_worker_sdk::{HubWorker, Method, Route, RunError};
use tokio::runtime::Runtime;

#[allow(
    dead_code,
    reason = "its main is for `cargo run --example axum_service`"
)]
#[path = "../../worker-sdk/examples/axum_service.rs"]
pub mod axum_service;
#[allow(
    dead_code,
    reason = "its main is for `cargo run --example axum_websocket`"
)]
#[path = "../../worker-sdk/examples/axum_websocket.rs"]
pub mod axum_websocket;
#[allow(dead_code, reason = "its main is for `cargo run --example echo`")]
#[path = "../../worker-sdk/examples/echo.rs"]
pub mod echo;
#[allow(dead_code, reason = "its main is for `cargo run --example items`")]
#[path = "../../worker-sdk/examples/items.rs"]
pub mod items;
#[allow(dead_code, reason = "its main is for `cargo run --example seed_api`")]
#[path = "../../worker-sdk/examples/seed_api.rs"]
pub mod seed_api;

/// How long a worker that spins looks for its next request.
const SPIN: Duration = Duration::from_micros(50);

/// If this process was started to play a part, plays it to its end.
///
/// `main` of every program that uses [`crate::system`] begins with this.
pub fn play() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let program = arguments.next()?;
    if arguments.next()? != "role" {
        return None;
    }
    let role = arguments.next()?.into_string().ok()?;
    let arguments = std::iter::once(program).chain(arguments);
    Some(match role.as_str() {
        "loadgen" => slotway_loadgen::cli::run(arguments),
        "quiet" => quiet(arguments.skip(1)),
        _ if role.starts_with("hub") => play_hub(&role, arguments),
        _ => play_worker(&role, arguments.skip(1)),
    })
}

fn play_hub(role: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if role == "hub-without-uring" {
        forbid_uring();
    }
    if role == "hub-traceable" {
        // Yama allows tracing of children only, unless they agree. Fails without Yama.
        let _ = set_ptracer(PTracer::Any);
    }
    slotway_hub::cli::run(arguments)
}

fn play_worker(role: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
    let rest: Vec<String> = arguments
        .filter_map(|argument| argument.into_string().ok())
        .collect();
    let first = rest.first().map_or("", String::as_str);
    let second = rest.get(1).map_or("echo", String::as_str);
    match role {
        "echo" => run(echo::worker(first, second).run()),
        "echo-spin" => run(echo::worker(first, second).spin(SPIN).run()),
        "echo-without-affinity" => {
            die_of_affinity();
            run(echo::worker(first, second).run())
        }
        "ledger" => {
            let log = rest.get(2).map_or("", String::as_str);
            let worker = crate::ledger_worker::worker(first, second, log.as_ref());
            let is_instance = rest.get(3).is_some_and(|text| text == "instance");
            run_until_told(if is_instance {
                worker.instance()
            } else {
                worker
            })
        }
        "websocket" => serve_websocket(first, second),
        "upgrades" => {
            let file = rest.get(2).map_or("", String::as_str);
            run(crate::upgrade_worker::worker(first, second, file).run())
        }
        "sse" => run_until_told(crate::sse_worker::worker(first, second)),
        "odd" => run(crate::odd_worker::worker(first, second).run()),
        // With the hub of `HUB_URL`, as the README runs them.
        "readme-axum" => run(async { slotway_worker_sdk::serve(axum_service::router()).await }),
        "readme-items" => {
            let worker = HubWorker::from_env(second, items::Items::default());
            match items::worker(worker).run_blocking() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("worker: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        "crowd" => {
            let number = |index: usize| rest.get(index).and_then(|text| text.parse().ok());
            let (count, routes) = (number(2).unwrap_or(1), number(3).unwrap_or(1));
            crate::crowd::serve(first, second, count, routes)
        }
        "own-metrics" => run_until_told(own_metrics(first, second)),
        "slots-of-one" => run_until_told(one_at_a_time(first, second)),
        "sleeper" => run_until_told(sleeper(first, second)),
        "fields" => run_until_told(fields(first, second)),
        "extractors" => run(crate::extractor_worker::worker(first, second).run()),
        "seed" => run(seed_api::worker(first).run()),
        "axum-app" => serve_directly(crate::axum_app::router()),
        "websocket-alone" => serve_directly(axum_websocket::router()),
        "axum-service" => {
            let is_instance = rest.get(2).is_some_and(|text| text == "instance");
            serve_axum_behind(first, second, is_instance)
        }
        "axum-prefixed" => {
            let worker = HubWorker::new(first, second, ());
            run(worker.service("/api", crate::axum_app::prefixed()).run())
        }
        "site" => {
            let at = rest.get(2).map_or("/", String::as_str);
            serve_site(first, second, at, rest.get(3))
        }
        "axum" => serve_axum(rest.first(), false),
        "catch-all" => serve_axum(None, true),
        "responder" => respond(&rest),
        other => {
            eprintln!("there is no part {other}");
            ExitCode::from(2)
        }
    }
}

fn serve_websocket(hub_url: &str, name: &str) -> ExitCode {
    let worker = HubWorker::new(hub_url, name, ());
    run(async {
        slotway_worker_sdk::serve(axum_websocket::router())
            .on(worker)
            .await
    })
}

/// A service with metrics of its own, and a version.
fn own_metrics(hub_url: &str, name: &str) -> HubWorker<()> {
    let worker = HubWorker::new(hub_url, name, ()).version("1.2.3");
    worker.get("/metrics", || "mine")
}

/// Says what fields a request has: the values of each name in lower case.
/// Two routes of one request at a time; a request for one of them never ends.
fn one_at_a_time(hub_url: &str, name: &str) -> HubWorker<()> {
    let hang = Route::in_place(Method::Get, "/hang", |(), _| {
        eprintln!("it hangs");
        loop {
            std::thread::park();
        }
    });
    let quick = Route::in_place(Method::Get, "/quick", |(), request| {
        request.response(200).text("quick")
    });
    let routes = [hang, quick].map(|route| route.concurrency(1));
    HubWorker::new(hub_url, name, ()).threads(2).routes(routes)
}

/// Responds after as many milliseconds as the path says.
fn sleeper(hub_url: &str, name: &str) -> HubWorker<()> {
    let sleep = Route::in_place(Method::Get, "/sleep/{ms}", |(), request| {
        let ms = request.param("ms").and_then(|ms| ms.parse().ok());
        std::thread::sleep(Duration::from_millis(ms.unwrap_or(0)));
        request.response(200).text("slept")
    });
    HubWorker::new(hub_url, name, ())
        .threads(16)
        .routes([sleep])
}

fn fields(hub_url: &str, name: &str) -> HubWorker<()> {
    use slotway_worker_sdk::extract::{Headers, Json};
    HubWorker::new(hub_url, name, ()).get("/fields", |headers: Headers| {
        let mut all = std::collections::BTreeMap::<String, Vec<String>>::new();
        for (name, value) in headers.0 {
            let value = String::from_utf8_lossy(&value).into_owned();
            all.entry(name.to_ascii_lowercase())
                .or_default()
                .push(value);
        }
        Json(all)
    })
}

/// A worker as a first one is written: it says what it has to say on stderr.
fn quiet(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.filter_map(|argument| argument.into_string().ok());
    let (hub_url, name) = (arguments.next(), arguments.next());
    let worker = HubWorker::new(&hub_url.unwrap_or_default(), &name.unwrap_or_default(), ());
    // As `main` returns it.
    match worker.get("/quiet", || "quiet").run_blocking() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

/// A service that says its name and the path that it sees, below a path and perhaps of one
/// host.
fn serve_site(hub_url: &str, name: &str, at: &str, host: Option<&String>) -> ExitCode {
    let own = name.to_owned();
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let text = format!("{own} {uri}");
        async move { text }
    });
    let worker = HubWorker::new(hub_url, name, ());
    run_on(&two_threads(), async {
        let stop = until_told();
        let mut served = slotway_worker_sdk::serve(router).on(worker).at(at);
        if let Some(host) = host {
            served = served.host(host);
        }
        served.with_graceful_shutdown(stop).await
    })
}

/// Runs until SIGTERM, and finishes what it has.
fn run_until_told<S: Send + Sync>(worker: HubWorker<S>) -> ExitCode {
    run(async { worker.run_until(until_told()).await })
}

/// SIGTERM. In a runtime.
fn until_told() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut told = signal(SignalKind::terminate()).expect("a handler of SIGTERM");
    async move {
        told.recv().await;
    }
}

fn run(worker: impl Future<Output = Result<(), RunError>>) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a tokio runtime starts");
    run_on(&runtime, worker)
}

fn run_on(runtime: &Runtime, worker: impl Future<Output = Result<(), RunError>>) -> ExitCode {
    match runtime.block_on(worker) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The peer of the benchmarks: axum with the same routes, on one thread, on TCP or on a Unix
/// socket of this path; or one that reads and answers whatever comes. Says on its first line
/// where it listens.
fn serve_axum(path: Option<&String>, catch_all: bool) -> ExitCode {
    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::{DefaultBodyLimit, Path};
    use axum::routing::{get, post};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a tokio runtime starts");
    runtime.block_on(async {
        let mut router = Router::new()
            .route(
                "/api/items/{id}",
                get(|Path(id): Path<String>| async move { format!("item {id}") }),
            )
            .route("/api/echo", post(|body: Bytes| async move { body }))
            .layer(DefaultBodyLimit::disable());
        if catch_all {
            router = router.fallback(|body: Bytes| async move { body.len().to_string() });
        }
        let served = if let Some(path) = path {
            let listener = tokio::net::UnixListener::bind(path).expect("a free path");
            println!("axum listens on unix:{path}, ready");
            axum::serve(listener, router).await
        } else {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            println!("axum listens on http://{address}, ready");
            axum::serve(listener, router).await
        };
        served.expect("axum serves until it is killed");
    });
    ExitCode::SUCCESS
}

/// A service as its authors run it without a hub.
fn serve_directly(router: axum::Router) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a tokio runtime starts");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        println!("axum listens on http://{address}, ready");
        let service = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
        axum::serve(listener, service)
            .await
            .expect("axum serves until it is killed");
    });
    ExitCode::SUCCESS
}

/// As many threads as handlers block in at once, on one core as well, where a runtime
/// has one unless it is told otherwise.
fn two_threads() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.expect("a tokio runtime starts")
}

/// The same service behind a hub.
fn serve_axum_behind(hub_url: &str, name: &str, is_instance: bool) -> ExitCode {
    let router = crate::axum_app::router();
    let mut worker = HubWorker::new(hub_url, name, ());
    if is_instance {
        worker = worker.instance();
    }
    run_on(&two_threads(), async {
        let stop = until_told();
        slotway_worker_sdk::serve(router)
            .on(worker)
            .with_graceful_shutdown(stop)
            .await
    })
}

/// The bare epoll responder, `responder [EVERY_MS STALL_MS]`.
fn respond(stall: &[String]) -> ExitCode {
    let milliseconds = |index: usize| {
        let text: &String = stall.get(index)?;
        text.parse().ok().map(Duration::from_millis)
    };
    let stall = milliseconds(0)
        .zip(milliseconds(1))
        .map(|(every, length)| Stall { every, length });
    let echo = Echo::start(stall).expect("a free port");
    println!("responder listens on http://{}, ready", echo.address());
    loop {
        std::thread::park();
    }
}

/// Forbids `io_uring_setup` to this process, as the default seccomp profiles of
/// container runtimes do.
fn forbid_uring() {
    /// Its number on every architecture (`io_uring_setup(2)`).
    const IO_URING_SETUP: i64 = 425;
    const EPERM: u32 = 1;
    forbid(IO_URING_SETUP, SeccompAction::Errno(EPERM));
}

/// Has the kernel end this process if it calls `sched_setaffinity`, as systemd's filters do with what
/// they leave out.
fn die_of_affinity() {
    let number = match std::env::consts::ARCH {
        "x86_64" => 203,
        _ => 122,
    };
    forbid(number, SeccompAction::KillProcess);
}

fn forbid(number: i64, action: SeccompAction) {
    let arch: TargetArch = std::env::consts::ARCH
        .try_into()
        .expect("an architecture it knows");
    let filter = SeccompFilter::new(
        BTreeMap::from([(number, Vec::new())]),
        SeccompAction::Allow,
        action,
        arch,
    )
    .expect("a filter of one rule");
    let program: seccompiler::BpfProgram = filter.try_into().expect("it compiles");
    seccompiler::apply_filter_all_threads(&program).expect("the kernel takes it");
}
