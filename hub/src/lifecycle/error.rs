//! Why a hub does not start.

use std::io;

use slotway_net::{Refusal, RunError};

use super::bind::BindError;
use super::unix_socket::UnixSocketError;
use crate::config::error::ConfigError;

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
    /// What another hub hands over.
    #[error("cannot take over from the other hub: {0}")]
    Handover(#[source] io::Error),
    /// Threads or the control runtime.
    #[error("cannot start the control runtime: {0}")]
    Runtime(#[source] io::Error),
}
