//! Serves a service of tower, such as an axum `Router`, until it is told to stop.

use std::path::Path;
use std::pin::Pin;

use super::HubWorker;
use crate::error::RunError;
use crate::tower::service::HttpService;

/// Runs a service behind the hub, as `axum::serve` runs it behind a listener: every
/// path of the hub that no other worker has more specifically is the service's.
///
/// The hub is the one that the environment's `HUB_URL` names, or the one at
/// `http://127.0.0.1:3200`, and the worker's name that of the program;
/// [`Serve::on`] says otherwise.
///
/// ```no_run
/// # use slotway_worker_sdk::RunError;
/// use axum::{Router, routing::get};
///
/// # async fn example() -> Result<(), RunError> {
/// let router = Router::new().route("/hello", get(async || "hello"));
/// slotway_worker_sdk::serve(router)
///     .with_graceful_shutdown(async { tokio::signal::ctrl_c().await.expect("a handler of SIGINT") })
///     .await
/// # }
/// ```
pub fn serve<Svc>(service: Svc) -> Serve<Svc> {
    let program = std::env::args_os().next();
    let name = program.as_deref().map(Path::new).and_then(Path::file_stem);
    let name = name.and_then(|name| name.to_str()).unwrap_or("service");
    Serve {
        service,
        worker: HubWorker::from_env(name, ()),
        prefix: "/".to_owned(),
    }
}

/// A service that is about to run; see [`serve`]. Await it.
#[must_use = "it runs once it is awaited"]
pub struct Serve<Svc> {
    service: Svc,
    worker: HubWorker<()>,
    /// Below which the service is; it does not see it.
    prefix: String,
}

/// Like [`Serve`], until it is told to stop.
#[must_use = "it runs once it is awaited"]
pub struct ServeUntil<Svc, F> {
    serve: Serve<Svc>,
    stop: F,
}

impl<Svc> Serve<Svc> {
    /// On another worker: of another hub, of another name, with more threads, as an
    /// instance, or with routes of its own beside the service.
    pub fn on(mut self, worker: HubWorker<()>) -> Self {
        self.worker = worker;
        self
    }

    /// Below a path, which the service does not see, as with axum's `nest`: at `/shop`, a
    /// request for `/shop/cart` is one for `/cart`. [`HubWorker::service`] is for services that
    /// see the whole path.
    ///
    /// ```no_run
    /// # use slotway_worker_sdk::RunError;
    /// # async fn example(shop: axum::Router) -> Result<(), RunError> {
    /// slotway_worker_sdk::serve(shop).at("/shop").await
    /// # }
    /// ```
    pub fn at(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// For requests of one host alone; see [`HubWorker::host`].
    pub fn host(mut self, name: &str) -> Self {
        self.worker = self.worker.host(name);
        self
    }

    /// Finishes the requests that the service has when `stop` is done, and ends.
    pub fn with_graceful_shutdown<F>(self, stop: F) -> ServeUntil<Svc, F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        ServeUntil { serve: self, stop }
    }
}

/// [`Serve`], never told to stop.
type ServeOn<Svc> = ServeUntil<Svc, std::future::Pending<()>>;

impl<Svc> IntoFuture for Serve<Svc>
where
    ServeOn<Svc>: IntoFuture,
{
    type Output = <ServeOn<Svc> as IntoFuture>::Output;
    type IntoFuture = <ServeOn<Svc> as IntoFuture>::IntoFuture;

    fn into_future(self) -> Self::IntoFuture {
        self.with_graceful_shutdown(std::future::pending())
            .into_future()
    }
}

impl<Svc, F> IntoFuture for ServeUntil<Svc, F>
where
    Svc: HttpService,
    F: Future<Output = ()> + Send + 'static,
{
    type Output = Result<(), RunError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let Serve {
            service,
            worker,
            prefix,
        } = self.serve;
        Box::pin(worker.nest(&prefix, service).run_until(self.stop))
    }
}
