//! Ctrl-C and SIGTERM: the run ends, and its report is written; a second one
//! ends the program at once.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use crate::compare::process;
use crate::load::Stop;

/// Exit code after a second signal, as a shell has it for SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Watches for signals from now on. Returns what they ask to stop.
pub fn watch() -> std::io::Result<Arc<Stop>> {
    let stop = Arc::new(Stop::default());
    let asked = Arc::clone(&stop);
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
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                };
                next().await;
                asked.request();
                next().await;
                process::end_all_now();
                std::process::exit(EXIT_INTERRUPTED);
            });
        })?;
    Ok(stop)
}
