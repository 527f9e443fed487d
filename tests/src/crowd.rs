//! Many workers in one process: what a host with as many services looks like to the hub.

use std::process::ExitCode;

use slotway_worker_sdk::{HubWorker, Method, Route, RunningWorker};

use crate::fd_limit::raise_fd_limit;

/// Serves as `count` workers with `routes` routes each: worker K of `name` has `/NAME-K/0`,
/// `/NAME-K/1` and so on.
pub fn serve(hub_url: &str, name: &str, count: usize, routes: usize) -> ExitCode {
    raise_fd_limit();
    let workers: Vec<RunningWorker> = (0..count)
        .map(|index| {
            let name = format!("{name}-{index}");
            let routes = (0..routes).map(|route| {
                let path = format!("/{name}/{route}");
                Route::in_place(Method::Get, &path, |(), request| {
                    request.response(200).text("crowd")
                })
            });
            let worker = HubWorker::new(hub_url, &name, ()).routes(routes);
            worker.start().expect("threads can be started")
        })
        .collect();
    let mut ended = 0;
    for worker in workers {
        if let Err(error) = worker.wait() {
            eprintln!("a worker of the crowd ended: {error}");
            ended += 1;
        }
    }
    ExitCode::from(u8::from(ended > 0))
}
