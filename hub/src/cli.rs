//! The command line: flags in, exit code out.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use crate::config::Config;
use crate::config::secret::Secret;
use crate::lifecycle::Hub;
use crate::lifecycle::error::StartError;
use crate::lifecycle::upgrade::{Predecessor, Program};
use crate::logging;
use clap::Parser;
use rustix::process::{Signal, kill_process};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

/// Runs the hub until SIGTERM or SIGINT. Exit codes: 0 after a graceful stop,
/// 1 when it cannot start or its stop had to be cut short, 2 for wrong flags, 70 when it
/// could not go on.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let config = match Config::try_parse_from(arguments) {
        Ok(config) => config,
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let log = logging::start();
    if config.region_size.is_some() {
        tracing::warn!(
            "--region-size is ignored: regions grow as they are used; --arena-bytes sets how \
             large a body may be that does not stream"
        );
    }
    let served = serve(config);
    drop(log);
    match served {
        Ok(End::Well) => ExitCode::SUCCESS,
        Ok(End::CutShort) => ExitCode::FAILURE,
        Ok(End::Failed) => ExitCode::from(SOFTWARE),
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = writeln!(std::io::stderr(), "slotway-hub: {error}");
            ExitCode::from(if matches!(error, StartError::Config(_)) {
                2
            } else {
                1
            })
        }
    }
}

/// An internal error (sysexits.h).
const SOFTWARE: u8 = 70;

/// How a hub that has started came to its end.
enum End {
    Well,
    /// Something did not end in time.
    CutShort,
    /// It could not go on.
    Failed,
}

fn serve(mut config: Config) -> Result<End, StartError> {
    let secret = std::env::var("HUB_SECRET").unwrap_or_default();
    config.secret = Secret::new(&secret)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let served = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
        let mut upgrade = signal(SignalKind::user_defined2()).map_err(StartError::Runtime)?;
        let program = Program::running().map_err(StartError::Runtime)?;
        let mut hub = match Predecessor::find().map_err(StartError::Handover)? {
            Some(predecessor) => Hub::take_over(config, predecessor).await?,
            None => Hub::start(config)?,
        };
        // A hub serves on though nobody reads what it says.
        let _ = writeln!(
            std::io::stdout(),
            "slotway-hub {} listens on {}, attach socket {}, engine {}, reactors {}, slots {} per lane",
            env!("CARGO_PKG_VERSION"),
            hub.urls().join(", "),
            hub.attach_path().display(),
            hub.engine(),
            hub.reactor_count(),
            hub.slot_count(),
        );
        let failed = hub.failed();
        tokio::pin!(failed);
        let mut end = End::Well;
        let why = loop {
            tokio::select! {
                why = &mut failed => {
                    end = End::Failed;
                    break format!("the hub cannot go on, since {why}");
                }
                _ = terminate.recv() => break "SIGTERM".to_owned(),
                _ = interrupt.recv() => break "SIGINT".to_owned(),
                _ = upgrade.recv() => match hub.upgrade(&program).await {
                    Ok(successor) => {
                        // Who told this hub to end meanwhile meant the one that serves.
                        let is_told = tokio::select! {
                            biased;
                            _ = terminate.recv() => true,
                            _ = interrupt.recv() => true,
                            () = std::future::ready(()) => false,
                        };
                        if is_told {
                            // Fails only if it has ended.
                            let _ = kill_process(successor, Signal::TERM);
                        }
                        break "a new hub has taken over".to_owned();
                    }
                    Err(error) => {
                        tracing::error!("the upgrade failed; this hub goes on: {error}");
                    }
                }
            }
        };
        if why == "SIGTERM" {
            serve_unready(&hub, &mut terminate, &mut interrupt).await;
        }
        tracing::info!("{why}: finishing what is in flight (SIGTERM or SIGINT ends at once)");
        tokio::select! {
            has_ended = hub.stop() => {
                tracing::info!("stopped");
                if !has_ended && matches!(end, End::Well) {
                    end = End::CutShort;
                }
            }
            _ = terminate.recv() => tracing::warn!("SIGTERM again: ending at once"),
            _ = interrupt.recv() => tracing::warn!("SIGINT again: ending at once"),
        }
        Ok(end)
    });
    // After a second signal the reactors may still be at work: do not wait.
    runtime.shutdown_background();
    served
}

/// Serves on for a while, so that balancers notice that the hub is about to stop.
async fn serve_unready(hub: &Hub, terminate: &mut SignalStream, interrupt: &mut SignalStream) {
    let delay = hub.say_unready();
    if delay.is_zero() {
        return;
    }
    tracing::info!("SIGTERM: /health says 503, and the hub serves on for {delay:?}");
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
