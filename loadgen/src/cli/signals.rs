//! Ctrl-C and SIGTERM: the run ends, and its report is written; a second one
//! ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::compare::process;
use crate::load::Stop;

/// Exit codes, as a shell has them for the signals.
const EXIT_INTERRUPTED: u8 = 130;
/// See [`EXIT_INTERRUPTED`].
const EXIT_TERMINATED: u8 = 143;

/// What signals ask for.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The end of the load.
    pub stop: Arc<Stop>,
    /// 0 as long as there was none.
    exit_code: Arc<AtomicU8>,
}

impl Signals {
    /// The exit code that a signal has asked for.
    pub fn exit_code(&self) -> Option<u8> {
        let code = self.exit_code.load(Ordering::Relaxed);
        (code > 0).then_some(code)
    }
}

/// Watches for signals from now on.
pub fn watch() -> std::io::Result<Signals> {
    let signals = Signals::default();
    let asked = signals.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let mut next = async || {
                    tokio::select! {
                        _ = interrupt.recv() => EXIT_INTERRUPTED,
                        _ = terminate.recv() => EXIT_TERMINATED,
                    }
                };
                asked.exit_code.store(next().await, Ordering::Relaxed);
                asked.stop.request();
                let code = next().await;
                process::end_all_now();
                std::process::exit(code.into());
            });
        })?;
    Ok(signals)
}
