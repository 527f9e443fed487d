//! Flags of `slotway-hub` and what they mean once checked.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use slotway_net::IoChoice;
use slotway_shm_proto::layout::{Geometry, GeometryError};

use crate::limits::{
    ARENA_BYTES_DEFAULT, BODY_BYTES_MAX_DEFAULT, PORT_DEFAULT, SLOT_COUNT_DEFAULT,
    TIMEOUT_SECONDS_DEFAULT,
};

/// HTTP in, shared memory through, HTTP out.
#[derive(Clone, Debug, Parser)]
#[command(name = "slotway-hub", version, about, max_term_width = 100)]
pub struct Config {
    /// Address to listen on
    #[arg(long, env = "HUB_BIND", default_value = "127.0.0.1")]
    pub bind: IpAddr,

    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = PORT_DEFAULT)]
    pub port: u16,

    /// Seconds a worker has to answer before the client gets 504
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT_SECONDS_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,

    /// Slots per lane: requests one worker may have in flight on each reactor
    #[arg(long, default_value_t = SLOT_COUNT_DEFAULT)]
    pub slots: u32,

    /// Bytes of a slot's arena in each direction; larger bodies stream through it
    #[arg(long, value_name = "BYTES", default_value_t = ARENA_BYTES_DEFAULT)]
    pub arena_bytes: u32,

    /// Reactor threads [default: half the cores, at least 1]
    #[arg(long)]
    pub reactors: Option<u32>,

    /// What moves the bytes: uring, epoll, or auto for the first that the
    /// system allows
    #[arg(long, value_name = "ENGINE", default_value_t)]
    pub io: IoChoice,

    /// Largest request body; a larger one gets 413
    #[arg(long, value_name = "BYTES", default_value_t = BODY_BYTES_MAX_DEFAULT)]
    pub body_bytes_max: u64,

    /// Unix socket at which workers attach, mode 0600
    /// [default: under `$XDG_RUNTIME_DIR`, /run, or a private folder in /tmp]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Measure where each request's time goes and log it every five seconds
    #[arg(long)]
    pub instrumentation: bool,

    /// Tell each client in a Server-Timing field where its request's time went
    #[arg(long)]
    pub server_timing: bool,
}

/// Flags that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Reactors, slots or arenas outside their bounds.
    #[error("--reactors, --slots, --arena-bytes: {0}")]
    Geometry(#[from] GeometryError),
}

impl Config {
    /// Reactor threads to start.
    pub fn reactor_count(&self) -> u32 {
        self.reactors.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            (cores as u32 / 2).max(1)
        })
    }

    /// Layout of every session's memory.
    pub fn geometry(&self) -> Result<Geometry, ConfigError> {
        Ok(Geometry::new(
            self.reactor_count(),
            self.slots,
            self.arena_bytes,
        )?)
    }

    /// Time a worker has to answer, in milliseconds.
    pub fn timeout_ms(&self) -> u64 {
        self.timeout * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_legal_configuration() {
        let config = Config::parse_from(["slotway-hub"]);
        assert!(config.geometry().is_ok());
        assert_eq!((config.port, config.timeout, config.slots), (3200, 30, 256));
    }

    #[test]
    fn no_reactors_no_slots_or_tiny_arenas_are_refused_by_name() {
        for flags in [
            ["--reactors", "0"],
            ["--slots", "0"],
            ["--arena-bytes", "100"],
        ] {
            let config = Config::parse_from(["slotway-hub"].into_iter().chain(flags));
            let error = config.geometry().unwrap_err().to_string();
            assert!(error.contains("expected"), "{error}");
        }
        assert!(Config::try_parse_from(["slotway-hub", "--timeout", "0"]).is_err());
    }
}
