//! A hub that serves, from its start to its exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use super::configuration;
use crate::config::Config;
use crate::config::load::{load, misspelt_variables};
use crate::lifecycle::Hub;
use crate::lifecycle::error::StartError;
use crate::lifecycle::upgrade::{Predecessor, Program, must_detach};
use crate::lifecycle::{stand_in, systemd};
use crate::logging;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

/// Runs the hub of these arguments until SIGTERM or SIGINT.
pub fn run(arguments: &[OsString]) -> ExitCode {
    match must_detach() {
        Ok(false) => {}
        Ok(true) => return ExitCode::SUCCESS,
        Err(error) => {
            // In vain only if stderr is closed.
            let _ = writeln!(io::stderr(), "slotway-hub: {error}");
            return ExitCode::FAILURE;
        }
    }
    let mut config = match load(arguments) {
        Ok(config) => config,
        Err(error) => return configuration::complain(&error),
    };
    let log = logging::start(config.logs.log_format);
    config.recent_lines = log.recent.clone();
    if config.region_size.is_some() {
        tracing::warn!(
            "--region-size is ignored: regions grow as they are used; --arena-bytes sets how \
             large a body may be that does not stream"
        );
    }
    for warning in misspelt_variables() {
        tracing::warn!("{warning}");
    }
    let served = serve(config);
    drop(log);
    match served {
        Ok(End::Well) => ExitCode::SUCCESS,
        Ok(End::PassedOn) => stand_in::passed_on(),
        Ok(End::CutShort) => ExitCode::FAILURE,
        Ok(End::Failed) => ExitCode::from(SOFTWARE),
        Err(error) => {
            systemd::status(&error.to_string());
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
    /// Well, and its successor has been told to end as well.
    PassedOn,
    /// Something did not end in time.
    CutShort,
    /// It could not go on.
    Failed,
}

fn serve(config: Config) -> Result<End, StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Runtime)?;
    let served = runtime.block_on(async {
        let terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(StartError::Runtime)?;
        let upgrade = signal(SignalKind::user_defined2()).map_err(StartError::Runtime)?;
        let hangup = signal(SignalKind::hangup()).map_err(StartError::Runtime)?;
        let program = Program::running().map_err(StartError::Runtime)?;
        let predecessor = Predecessor::find().map_err(StartError::Handover)?;
        // A successor is not the process that somebody knows.
        let takes_over = predecessor.is_some();
        let stays = predecessor.is_none() && stand_in::must_stay();
        if stays {
            stand_in::adopt_successors().map_err(StartError::Runtime)?;
        }
        let mut hub = match predecessor {
            Some(predecessor) => Hub::take_over(config, predecessor).await?,
            None => Hub::start(config)?,
        };
        // A hub serves on though nobody reads what it says.
        let _ = writeln!(
            std::io::stdout(),
            "slotway-hub {} listens on {}, {}attach socket {}, engine {}, reactors {}, slots {} per lane",
            env!("CARGO_PKG_VERSION"),
            hub.urls().join(", "),
            operated_at(&hub),
            hub.attach_path().display(),
            hub.engine(),
            hub.reactor_count(),
            hub.slot_count(),
        );
        // For a hub that takes over the other one speaks.
        if !takes_over {
            systemd::ready(&hub.summary());
        }
        if let Some(watchdog) = hub.watchdog() {
            tokio::spawn(watchdog);
        }
        let mut signals = Signals {
            terminate,
            interrupt,
            upgrade,
            hangup,
        };
        let (why, end, successor) = serve_until_told(&mut hub, &program, &mut signals).await;
        if why == "SIGTERM" {
            signals.serve_unready(&hub).await;
        }
        tracing::info!("{why}: finishing what is in flight (SIGTERM or SIGINT ends at once)");
        if successor.is_none() {
            systemd::stopping(hub.stop_limit());
        }
        let end = match (end, signals.stop(hub, successor).await) {
            (End::Well, Stopped::Late) => End::CutShort,
            (End::Well, Stopped::PassedOn) => End::PassedOn,
            (end, _) => end,
        };
        if let Some(successor) = successor.filter(|_| stays) {
            return Ok(signals.stand_in(successor).await.unwrap_or(End::Failed));
        }
        Ok(end)
    });
    // After a second signal the reactors may still be at work: do not wait.
    runtime.shutdown_background();
    served
}

fn operated_at(hub: &Hub) -> String {
    let urls = hub.operations_urls();
    if urls.is_empty() {
        return String::new();
    }
    format!("is operated at {}, ", urls.join(", "))
}

/// Serves until told to end, by whomever; with the hub that has taken over, if one has.
async fn serve_until_told(
    hub: &mut Hub,
    program: &Program,
    signals: &mut Signals,
) -> (String, End, Option<Pid>) {
    let failed = hub.failed();
    tokio::pin!(failed);
    loop {
        tokio::select! {
            why = &mut failed => {
                return (format!("the hub cannot go on, since {why}"), End::Failed, None);
            }
            _ = signals.terminate.recv() => return ("SIGTERM".to_owned(), End::Well, None),
            _ = signals.interrupt.recv() => return ("SIGINT".to_owned(), End::Well, None),
            _ = signals.hangup.recv() => hub.refresher()(),
            _ = signals.upgrade.recv() => match hub.upgrade(program).await {
                Ok(successor) => {
                    systemd::handed_over(successor).await;
                    let why = "a new hub has taken over".to_owned();
                    return (why, End::Well, Some(successor));
                }
                Err(error) => {
                    tracing::error!("the upgrade failed; this hub goes on: {error}");
                }
            }
        }
    }
}

/// How stopping went.
#[derive(Clone, Copy)]
enum Stopped {
    InTime,
    /// Something has not come to its end in time.
    Late,
    /// In time, and the successor has been told to end as well.
    PassedOn,
}

/// What the hub is told by signals.
struct Signals {
    terminate: SignalStream,
    interrupt: SignalStream,
    upgrade: SignalStream,
    hangup: SignalStream,
}

impl Signals {
    /// Serves on for a while, so that balancers notice that the hub is about to stop.
    async fn serve_unready(&mut self, hub: &Hub) {
        let delay = hub.say_unready();
        if delay.is_zero() {
            return;
        }
        tracing::info!("SIGTERM: /health says 503, and the hub serves on for {delay:?}");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = hub.failed() => {}
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Stops the hub. Who tells one to end that has handed over means its successor first.
    async fn stop(&mut self, hub: Hub, mut successor: Option<Pid>) -> Stopped {
        let refresh = hub.refresher();
        let mut stopping = std::pin::pin!(hub.stop());
        let mut stopped = Stopped::InTime;
        loop {
            let told = tokio::select! {
                biased;
                _ = self.terminate.recv() => Signal::TERM,
                _ = self.interrupt.recv() => Signal::TERM,
                _ = self.upgrade.recv() => Signal::USR2,
                _ = self.hangup.recv() => Signal::HUP,
                has_ended = &mut stopping => {
                    tracing::info!("stopped");
                    return if has_ended { stopped } else { Stopped::Late };
                }
            };
            // Passing it on fails only if that has ended.
            if told == Signal::HUP {
                refresh();
            }
            match (told, successor) {
                (Signal::USR2 | Signal::HUP, None) => {}
                (Signal::USR2 | Signal::HUP, Some(successor)) => {
                    let _ = kill_process(successor, told);
                }
                (_, Some(serving)) => {
                    let _ = kill_process(serving, told);
                    successor = None;
                    stopped = Stopped::PassedOn;
                }
                (_, None) => {
                    tracing::warn!("told again: ending at once");
                    return stopped;
                }
            }
        }
    }

    /// Stays for a hub that has taken over, until no hub is left.
    async fn stand_in(&mut self, successor: Pid) -> io::Result<End> {
        let signals = [
            (Signal::TERM, &mut self.terminate),
            (Signal::INT, &mut self.interrupt),
            (Signal::USR2, &mut self.upgrade),
            (Signal::HUP, &mut self.hangup),
        ];
        let status = stand_in::run(successor, signals).await?;
        Ok(if status == 0 { End::Well } else { End::Failed })
    }
}
