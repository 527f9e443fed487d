//! The log: lines to standard error that nobody can flood and that stop nothing.
//!
//! `format` is text or JSON, `limit` bounds how often each line can come, since many are caused by peers; `writer`
//! hands lines to a thread of their own, so that a disk that is full, a reader that does
//! not read or an error of stderr costs lines and nothing else. The last warnings and errors
//! are kept in memory ([`recent`]). Lines about a request have its id, if it has one ([`request`]).

mod format;
mod limit;
pub mod recent;
pub mod request;
mod writer;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use format::LogFormat;
use limit::RateLimit;
use recent::RecentLines;
use writer::LogWriter;

/// Keeps the log going; what is still to be written is written when it is dropped.
#[must_use = "the log ends with it"]
pub struct Log {
    /// Its last warnings and errors.
    pub recent: RecentLines,
    _writer: writer::Flush,
}

/// Sends what `RUST_LOG` asks for (else `info`) to standard error, and panics with it.
/// In a process that has a log already this changes nothing.
pub fn start(format: LogFormat) -> Log {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let limit = RateLimit::default();
    let (writer, flush) = LogWriter::start(limit.clone(), format);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(writer)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal())
        // It would do so with eprintln!, which panics where stderr fails.
        .log_internal_errors(false);
    let recent = RecentLines::default();
    let lines = match format {
        LogFormat::Text => lines
            .map_event_format(|text| request::Named::new(text, request::as_text))
            .and_then(recent.clone())
            .with_filter(limit)
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .map_event_format(|json| request::Named::new(json, request::as_json))
            .and_then(recent.clone())
            .with_filter(limit)
            .boxed(),
    };
    // Fails if the process has a subscriber already, which then serves.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let what = panic.to_string().replace('\n', " ");
        tracing::error!(
            "thread {}: {what}",
            thread.name().unwrap_or("the name is missing")
        );
    }));
    Log {
        recent,
        _writer: flush,
    }
}
