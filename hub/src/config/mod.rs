//! The configuration of `slotway-hub`: its flags, checked.
//!
//! [`load`] puts them together out of the command line, the environment (`command_line`) and a
//! `file` with its `tables` (`source` knows its lines); [`check`] says what they must be to each other, [`problem`] and
//! [`error`] what is wrong, [`settings`] are for people to look at, and [`live`] is what can change
//! while the hub serves.
//!
//! [`listen`] says where the hub listens, [`attach`] which users' workers may attach ([`account`]
//! knows users and groups), [`affinity`] on which cores it runs, [`deadlines`] how long clients are waited for, and [`logs`] what is
//! logged. [`secret`] is what peers from other hosts must send, [`origin`] the web origins that
//! may read responses, and [`duration`] reads times.

pub mod account;
pub mod affinity;
pub mod attach;
pub mod check;
mod command_line;
pub mod deadlines;
pub mod duration;
pub mod error;
mod file;
pub mod listen;
pub mod live;
pub mod load;
pub mod logs;
pub mod origin;
pub mod problem;
pub mod secret;
pub mod settings;
mod source;
mod tables;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use slotway_net::IoChoice;
use slotway_shm_proto::geometry::Geometry;
use slotway_shm_proto::limits::{REQUEST_FIELD_COUNT_MAX, SLOT_COUNT_MAX};

use crate::http::forwarded::TrustedProxy;
use crate::http::head::HeadLimits;
use crate::limits::{
    ARENA_BYTES_DEFAULT, BODY_BYTES_MAX_DEFAULT, BODY_RATE_MIN_DEFAULT, BODY_TIME_DEFAULT,
    DRAIN_TIME_DEFAULT, HEAD_BYTES_MAX, HEAD_TIME_DEFAULT, IDLE_TIME_DEFAULT, LINE_BYTES_MAX,
    PING_TIME_DEFAULT, PORT_DEFAULT, QUEUE_COUNT_DEFAULT, SLOT_COUNT_DEFAULT,
    SSE_BUFFER_COUNT_DEFAULT, SSE_SWEEP_MS_DEFAULT, STREAM_COUNT_DEFAULT, TIMEOUT_MIN,
    TIMEOUT_TIME_DEFAULT, WORKER_GRACE_DEFAULT, WRITE_RATE_MIN_DEFAULT, WRITE_TIME_DEFAULT,
};
use crate::logging::recent::RecentLines;
use crate::routing::area::LimitRule;
use crate::routing::own_paths::OwnPaths;

use affinity::Affinity;
use attach::AttachOptions;
use deadlines::Deadlines;
use duration::{Time, at_least};
use error::ConfigError;
use listen::ListenAddress;
use logs::LogOptions;
use origin::AllowedOrigin;
use secret::Secret;

/// What is not a flag.
const AFTER_HELP: &str = "\
Times are 250ms, 30s, 5m or 1h; a number alone is seconds.

Environment:
  HUB_SECRET  What peers on other hosts must send as X-Hub-Secret, at least 16 characters;
              needed where the hub listens on more than loopback
  RUST_LOG    What is logged, for example debug or warn [default: info]
  SLOTWAY_*   Every flag: SLOTWAY_SLOTS=512 is --slots 512

Signals:
  SIGTERM, SIGINT  Finish what is in flight and end; a second one ends at once
  SIGHUP           Take what has changed in the file of --config, and open the file of
                   --access-log anew
  SIGUSR2          Replace the hub by the program that is at its path now; no connection is
                   refused";

/// HTTP in, shared memory through, HTTP out.
#[derive(Clone, Debug, Parser)]
#[command(name = "slotway-hub", version, about, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Config {
    /// A configuration file in TOML: its keys are these flags, with _ for -; flags and variables
    /// go before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address to listen on; may be given again
    #[arg(
        long,
        env = "HUB_BIND",
        value_name = "ADDRESS",
        value_delimiter = ',',
        default_value = "127.0.0.1"
    )]
    pub bind: Vec<IpAddr>,

    /// Port to listen on, on each address; 0 picks a free one; may be given again
    #[arg(long, value_delimiter = ',', default_values_t = [PORT_DEFAULT])]
    pub port: Vec<u16>,

    /// Listen here instead; may be given again
    #[arg(long, value_name = "WHERE",
          help = "Listen here instead: address:port, or unix:/path[,mode=0660][,group=NAME] for HTTP on a Unix socket; may be given again", conflicts_with_all = ["bind", "port"])]
    pub listen: Vec<ListenAddress>,

    /// Listen here for who operates the hub
    #[arg(
        long,
        value_name = "WHERE",
        help = "Answer /live, /ready, /metrics and the status page /_slotway/ here: address:port or unix:/path[,mode=0660][,group=NAME]; may be given again. Without it they are answered at every listener, to clients on this host"
    )]
    pub ops: Vec<ListenAddress>,

    /// A name under which --ops is asked, beside addresses and this host's own name; may be
    /// given again
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "ops")]
    pub ops_name: Vec<String>,

    /// The status page
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::On)]
    pub status: Switch,

    /// Peers whose X-Forwarded-For and -Proto are believed: a network, an address, or
    /// unix; may be given again. From others the fields are dropped. Without any, the hub
    /// believes nobody and workers get the fields as clients sent them
    #[arg(long, value_name = "PEERS")]
    pub trusted_proxy: Vec<TrustedProxy>,

    /// Balancers that begin each connection with a PROXY header (version 1 or 2), which says whom
    /// they speak for: a network, an address, or unix; may be given again. All other connections
    /// are closed then, except at --ops
    #[arg(long, value_name = "PEERS")]
    pub proxy_protocol: Vec<TrustedProxy>,

    /// Tell each connection here how the hub is, for balancers
    #[arg(
        long,
        value_name = "WHERE",
        help = "Tell each connection here how the hub is, for HAProxy's agent-check: address:port or unix:/path; may be given again"
    )]
    pub agent_check: Vec<ListenAddress>,

    /// Time a worker has to respond before the client gets 504
    #[arg(long, value_name = "TIME", default_value_t = Time::new(TIMEOUT_TIME_DEFAULT), value_parser = at_least(TIMEOUT_MIN))]
    pub timeout: Time,

    /// Silence after which a worker is pinged; one that does not respond within
    /// --timeout is evicted. 0: no pings
    #[arg(long, value_name = "TIME", default_value_t = Time::new(PING_TIME_DEFAULT), value_parser = at_least(Duration::ZERO))]
    pub ping: Time,

    /// Time that requests in flight may take when the hub stops, or when a worker is
    /// replaced or leaves
    #[arg(long, value_name = "TIME", default_value_t = Time::new(DRAIN_TIME_DEFAULT), value_parser = at_least(TIMEOUT_MIN))]
    pub drain_timeout: Time,

    /// How long requests for a route whose worker has just gone wait for it to come back;
    /// after that they get 503. 0: none waits
    #[arg(long, value_name = "TIME", default_value_t = Time::new(WORKER_GRACE_DEFAULT), value_parser = at_least(Duration::ZERO))]
    pub worker_grace: Time,

    /// A worker that must be there: until it has attached, paths without a route get 503
    /// instead of 404, and /health says 503; may be given again
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub expect_worker: Vec<String>,

    /// How long the hub goes on accepting after SIGTERM, while /health says 503, so that
    /// balancers notice first
    #[arg(long, value_name = "TIME", default_value_t = Time::new(Duration::ZERO), value_parser = at_least(Duration::ZERO))]
    pub shutdown_delay: Time,

    /// Where the hub's own paths (/health, /events, /internal/) are: below this path, and
    /// everything else is for workers
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/",
        hide_default_value = true
    )]
    pub own_paths: OwnPaths,

    /// Slots per lane: requests one worker may have in flight on each reactor
    #[arg(long, default_value_t = SLOT_COUNT_DEFAULT)]
    pub slots: u32,

    /// Responses without a known length, such as event streams of a service, that each worker
    /// may send at a time on each reactor, beside its slots; further ones get 503
    #[arg(long, value_name = "N", default_value_t = STREAM_COUNT_DEFAULT, value_parser = clap::value_parser!(u32).range(1..))]
    pub streams: u32,

    /// Requests that wait for a slot, for each route on each reactor; further ones
    /// get 503. 0: none waits
    #[arg(long, value_name = "N", default_value_t = QUEUE_COUNT_DEFAULT)]
    pub queue: u32,

    /// Bytes of a slot's arena in each direction; larger bodies stream through it
    #[arg(long, value_name = "BYTES", default_value_t = ARENA_BYTES_DEFAULT)]
    pub arena_bytes: u32,

    /// Reactor threads [default: half the cores, at least 1]
    #[arg(long)]
    pub reactors: Option<u32>,

    /// Cores that reactors keep to: off, auto for one of its own each, or a list like 0,2-5
    #[arg(long, value_name = "CORES", default_value_t = Affinity::Off)]
    pub affinity: Affinity,

    /// I/O engine: uring-direct, uring, epoll, or auto for the first that the
    /// system allows
    #[arg(long, value_name = "ENGINE", default_value_t)]
    pub io: IoChoice,

    /// Largest request body; a larger one gets 413
    #[arg(long, value_name = "BYTES", default_value_t = BODY_BYTES_MAX_DEFAULT)]
    pub body_bytes_max: u64,

    /// Longest request line; a longer one gets 414
    #[arg(long, value_name = "BYTES", default_value_t = LINE_BYTES_MAX as u32,
          value_parser = clap::value_parser!(u32).range(64..=LINE_BYTES_MAX as i64))]
    pub line_bytes_max: u32,

    /// Largest request head; a larger one gets 431
    #[arg(long, value_name = "BYTES", default_value_t = HEAD_BYTES_MAX as u32,
          value_parser = clap::value_parser!(u32).range(128..=HEAD_BYTES_MAX as i64))]
    pub head_bytes_max: u32,

    /// Most fields of a request; more get 431
    #[arg(long, value_name = "N", default_value_t = REQUEST_FIELD_COUNT_MAX as u32,
          value_parser = clap::value_parser!(u32).range(1..=REQUEST_FIELD_COUNT_MAX as i64))]
    pub fields_max: u32,

    /// Time a connection may wait for its next request; then it is closed
    #[arg(long, value_name = "TIME", default_value_t = Time::new(IDLE_TIME_DEFAULT), value_parser = at_least(TIMEOUT_MIN))]
    pub idle_timeout: Time,

    /// Time a request head may take, from its first byte; then 408
    #[arg(long, value_name = "TIME", default_value_t = Time::new(HEAD_TIME_DEFAULT), value_parser = at_least(TIMEOUT_MIN))]
    pub head_timeout: Time,

    /// Time a request body may take beyond what --body-rate-min gives it; then 408
    #[arg(long, value_name = "TIME", default_value_t = Time::new(BODY_TIME_DEFAULT), value_parser = at_least(TIMEOUT_MIN))]
    pub body_timeout: Time,

    /// Least bytes per second of a request body; 0 for none
    #[arg(long, value_name = "BYTES", default_value_t = BODY_RATE_MIN_DEFAULT)]
    pub body_rate_min: u64,

    /// Time a client may take for a piece of a response beyond what --write-rate-min
    /// gives it; then it is reset
    #[arg(long, value_name = "TIME", default_value_t = Time::new(WRITE_TIME_DEFAULT), value_parser = at_least(TIMEOUT_MIN))]
    pub write_timeout: Time,

    /// Least bytes per second that a client must take of a response
    #[arg(long, value_name = "BYTES", default_value_t = WRITE_RATE_MIN_DEFAULT,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub write_rate_min: u64,

    /// Most client connections; further ones wait to be accepted
    /// [default: what the limit of open files allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_max: Option<u32>,

    /// Requests after which a connection is closed; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub requests_per_connection: u64,

    /// Events that wait for each client of an event stream; a slower one loses events, and
    /// is told how many
    #[arg(long, value_name = "N", default_value_t = SSE_BUFFER_COUNT_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub sse_buffer: u32,

    /// Milliseconds after which a client of a silent event stream gets a comment, by which
    /// one that has gone is noticed; 0 for never
    #[arg(long, value_name = "MS", default_value_t = SSE_SWEEP_MS_DEFAULT,
          value_parser = parse_sweep_interval)]
    pub sse_sweep_interval_ms: u64,

    /// Origins whose web pages may read responses, or *; may be given again. None: the hub
    /// leaves it to the workers
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_allow_origin: Vec<AllowedOrigin>,

    /// Where /internal/ is answered: at every listener, or only at a Unix socket
    #[arg(long, value_name = "WHERE", value_enum, default_value_t)]
    pub internal: Internal,

    /// A file with the secret, instead of `HUB_SECRET`
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// The `[[route]]` tables of the configuration file
    #[arg(skip)]
    pub route_limits: Vec<LimitRule>,

    /// What peers that are not on this host must send as X-Hub-Secret
    #[arg(skip)]
    pub secret: Option<Secret>,

    /// All flags with their values, for the status page
    #[arg(skip)]
    pub settings: Vec<settings::Setting>,

    /// The command line, to read the configuration again
    #[arg(skip)]
    pub arguments: Vec<OsString>,

    /// The last warnings and errors of the log, for the status page
    #[arg(skip)]
    pub recent_lines: RecentLines,

    /// Flags of the logs
    #[command(flatten)]
    pub logs: LogOptions,

    /// Flags of the attach socket
    #[command(flatten)]
    pub attach: AttachOptions,

    /// Of slotbus-hub; ignored, with a warning
    #[arg(long, value_name = "BYTES", hide = true)]
    pub region_size: Option<String>,

    /// Measure where each request's time goes and log it every five seconds
    #[arg(long)]
    pub instrumentation: bool,

    /// Tell each client in a Server-Timing field where its request's time went
    #[arg(long)]
    pub server_timing: bool,
}

/// Where the hub's own paths are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Internal {
    /// At every listener
    #[default]
    All,
    /// Only at a Unix socket of --listen
    Socket,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// It is there
    On,
    /// It is not
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl Config {
    /// Reactor threads to start.
    pub fn reactor_count(&self) -> u32 {
        self.reactors.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            (cores as u32 / 2).max(1)
        })
    }

    /// Whether the command line had any.
    pub fn has_flags(&self) -> bool {
        self.arguments.len() > 1
    }

    /// Layout of every session's memory.
    pub fn geometry(&self) -> Result<Geometry, ConfigError> {
        let of = |slots| Geometry::new(self.reactor_count(), slots, self.arena_bytes);
        // Whichever is wrong is said of what the flag says.
        of(self.slots)?;
        let both = u64::from(self.slots) + u64::from(self.streams);
        match u32::try_from(both) {
            Ok(count) if count <= SLOT_COUNT_MAX => Ok(of(count)?),
            _ => Err(ConfigError::Slots(both)),
        }
    }

    /// Everything to listen on.
    pub fn listen_addresses(&self) -> Vec<ListenAddress> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let on_port = |port: &u16| {
            let port = *port;
            self.bind
                .iter()
                .map(move |address| SocketAddr::new(*address, port))
        };
        self.port
            .iter()
            .flat_map(on_port)
            .map(ListenAddress::Tcp)
            .collect()
    }

    /// How long clients are waited for.
    pub fn deadlines(&self) -> Deadlines {
        Deadlines {
            idle_ms: self.idle_timeout.ms(),
            head_ms: self.head_timeout.ms(),
            body_ms: self.body_timeout.ms(),
            body_bytes_per_s_min: self.body_rate_min,
            write_ms: self.write_timeout.ms(),
            write_bytes_per_s_min: self.write_rate_min,
        }
    }

    /// Bounds of a request's head.
    pub fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            line_bytes: self.line_bytes_max as usize,
            head_bytes: self.head_bytes_max as usize,
            field_count: self.fields_max as usize,
        }
    }

    /// After how much silence a client of an event stream gets a comment, if it does.
    pub fn sse_sweep_interval(&self) -> Option<Duration> {
        let interval = Duration::from_millis(self.sse_sweep_interval_ms);
        (!interval.is_zero()).then_some(interval)
    }
}

fn parse_sweep_interval(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(ms) if ms == 0 || (10..=86_400_000).contains(&ms) => Ok(ms),
        _ => Err("expected 0, or 10 to 86400000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_legal_configuration() {
        let config = Config::parse_from(["slotway-hub"]);
        assert!(config.geometry().is_ok());
        assert_eq!((config.timeout.ms(), config.slots), (30_000, 256));
        let listen: Vec<ListenAddress> = vec!["127.0.0.1:3200".parse().unwrap()];
        assert_eq!(config.listen_addresses(), listen);
    }

    #[test]
    fn it_listens_on_every_port_of_every_address_or_where_it_is_told() {
        let of = |flags: &[&str]| {
            let flags = ["slotway-hub"].iter().chain(flags);
            Config::try_parse_from(flags).map(|config| config.listen_addresses())
        };
        let both = of(&["--bind", "127.0.0.1", "--bind", "::1", "--port", "1,2"]).unwrap();
        assert_eq!(both.len(), 4);
        let told = of(&["--listen", "[::1]:80", "--listen", "unix:/run/h.sock"]).unwrap();
        assert!(matches!(told[1], ListenAddress::Unix { .. }));
        assert_eq!(told.len(), 2);
        assert!(of(&["--listen", "80"]).is_err() && of(&["--listen", "unix:"]).is_err());
        assert!(of(&["--listen", "[::1]:80", "--port", "80"]).is_err());
    }

    #[test]
    fn a_silent_event_stream_may_be_left_alone() {
        let of = |ms: &str| Config::try_parse_from(["slotway-hub", "--sse-sweep-interval-ms", ms]);
        assert_eq!(of("0").unwrap().sse_sweep_interval(), None);
        assert!(of("10").unwrap().sse_sweep_interval().is_some());
        assert!(of("9").is_err() && of("x").is_err());
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
        let config = Config::parse_from(["slotway-hub", "--slots", "16000"]);
        let error = config.geometry().unwrap_err().to_string();
        assert!(error.contains("--slots and --streams: 20096"), "{error}");
        assert!(Config::try_parse_from(["slotway-hub", "--timeout", "0"]).is_err());
    }
}
