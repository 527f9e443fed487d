//! Why a hub does not start.

use std::io;

use slotway_net::{Refusal, RunError};
use slotway_shm_proto::layout::LAYOUT_VERSION;

use super::bind::BindError;
use super::unix_socket::UnixSocketError;
use crate::config::error::ConfigError;
use crate::limits::MOVE_TIME;

/// Why a hub does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Invalid flags.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A Unix socket: of HTTP, or for workers.
    #[error(transparent)]
    UnixSocket(#[from] UnixSocketError),
    /// The I/O engine that was asked for by name.
    #[error("--io uring: {0}; use --io epoll instead")]
    Refused(#[from] Refusal),
    /// The I/O engine of a reactor.
    #[error(transparent)]
    Engine(#[from] RunError),
    /// What the service manager has opened.
    #[error("cannot use the sockets of the service manager (LISTEN_FDS): {0}")]
    Passed(#[source] io::Error),
    /// What another hub hands over.
    #[error("cannot take over from the other hub: {0}")]
    Handover(#[source] io::Error),
    /// Workers of the other hub cannot attach to this one.
    #[error(
        "cannot take over: the {workers} workers of the running hub have shared memory of layout version \
         {theirs}, and this program knows version {LAYOUT_VERSION}; rebuild the workers with the SDK of this release, and \
         stop the running hub before this one starts"
    )]
    OtherLayout {
        /// Their version.
        theirs: u32,
        /// How many there are.
        workers: usize,
    },
    /// Most workers of the other hub have not come.
    #[error(
        "cannot take over: {attached} of the {expected} workers of the running hub have attached to this \
         one in {MOVE_TIME:?}; their logs say why the others have not"
    )]
    WorkersMissing {
        /// How many have.
        attached: usize,
        /// How many were expected.
        expected: usize,
    },
    /// The access log's file.
    #[error("--access-log: {0}")]
    AccessLog(#[source] io::Error),
    /// Threads or the control runtime.
    #[error("cannot start the control runtime: {0}")]
    Runtime(#[source] io::Error),
}
