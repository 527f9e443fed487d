//! Why a configuration cannot be used.

use std::net::SocketAddr;
use std::path::PathBuf;

use slotway_shm_proto::geometry::GeometryError;
use slotway_shm_proto::limits::SLOT_COUNT_MAX;

use crate::limits::SECRET_CHARS_MIN;

/// Invalid flags.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Reactors, slots or arenas outside their bounds.
    #[error("--reactors, --slots, --arena-bytes: {0}")]
    Geometry(#[from] GeometryError),
    /// Each within its bounds, and too many together.
    #[error("--slots and --streams: {0} together, and a lane has at most {SLOT_COUNT_MAX}")]
    Slots(u64),
    /// A core of another's, or none at all.
    #[error("--affinity: core {core} is not one of those that this process may use: {allowed}")]
    Affinity {
        /// It.
        core: usize,
        /// Those that it may.
        allowed: String,
    },
    /// Others can reach it, and nothing keeps them out.
    #[error(
        "{0} can be reached from elsewhere: set HUB_SECRET or --secret-file (at least {SECRET_CHARS_MIN} characters), \
             or listen on a loopback address"
    )]
    NoSecret(SocketAddr),
    /// A secret that is easily guessed.
    #[error("the secret (HUB_SECRET, --secret-file) has fewer than {SECRET_CHARS_MIN} characters")]
    SecretTooShort,
    /// Which one counts?
    #[error("there are two secrets, HUB_SECRET and --secret-file: give one of them")]
    TwoSecrets,
    /// The file of the secret.
    #[error("--secret-file {path}: {error}")]
    SecretFile {
        /// Where.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// A peer of the attach socket has limits in one place and none in another.
    #[error(
        "[[attach]]: {0} may attach without limits elsewhere (--attach-user, --attach-group, or another [[attach]])"
    )]
    AttachTwice(String),
    /// Two purposes, or one twice.
    #[error("{0} is to be listened on twice (--listen, --ops, --agent-check, --socket)")]
    Twice(String),
    /// Nobody could register.
    #[error("--internal socket needs a Unix socket among the --listen: unix:/path")]
    NoInternalSocket,
}
