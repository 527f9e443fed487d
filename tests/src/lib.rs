//! Whole systems out of real processes: what the demo, the tests and the
//! benchmarks share.
//!
//! A process that plays a part (hub, worker, peer) is the running program
//! itself, started again as `PROGRAM role NAME …`: so every part is there
//! wherever the program was built. `roles` has the parts, `system` starts and
//! ends them, `http` is a client that says exactly what it is told to, `wrk` runs
//! the other load generator, `bench` compares systems; `http_corpus` and `smuggling` are requests to try a front
//! end with, `event_stream` is a client of Server-Sent Events, `scrape` reads metrics,
//! `chromium` drives a browser, `users` becomes other users, `machine` is one of a test's own with systemd, `container` is one by runc, `crowd` is many workers, and `ledger` says whether every request got exactly one response.
#![forbid(unsafe_code)]

pub mod axum_app;
pub mod bench;
pub mod chromium;
pub mod container;
pub mod crowd;
pub mod event_stream;
pub mod extractor_worker;
pub mod fake_worker;
pub mod fd_limit;
pub mod http;
pub mod http_corpus;
pub mod ledger;
pub mod ledger_worker;
pub mod machine;
pub mod message_worker;
pub mod odd_worker;
pub mod roles;
pub mod scrape;
pub mod scribbler;
pub mod shouters;
pub mod smuggling;
pub mod sse_worker;
pub mod successor;
pub mod system;
pub mod tidy;
pub mod upgrade_worker;
pub mod users;
pub mod wrk;

/// Whether a program is there that a test needs beside this project. In CI it must be:
/// `.ci/run` installs all of them.
pub fn has_program(name: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&folders).any(|folder| folder.join(name).is_file());
    let is_ci = std::env::var_os("CI").is_some();
    assert!(is_there || !is_ci, "{name} is missing");
    if !is_there {
        println!("skipped: {name} is not installed (.ci/run installs it)");
    }
    is_there
}

/// How often something is repeated: so often, or `SLOTWAY_SOAK` times that (`just soak`).
pub fn repeats(count: u32) -> u32 {
    let factor = std::env::var("SLOTWAY_SOAK").ok();
    count * factor.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The engines, as `--io` names them.
pub const ENGINES: [&str; 3] = ["uring", "uring-direct", "epoll"];

/// A test on each engine for each function, which gets the engine's name.
#[macro_export]
macro_rules! on_each_engine {
    ($($name:ident)*) => {
        mod on_uring { $(#[test] fn $name() { super::$name("uring"); })* }
        mod on_uring_direct { $(#[test] fn $name() { super::$name("uring-direct"); })* }
        mod on_epoll { $(#[test] fn $name() { super::$name("epoll"); })* }
    };
}
