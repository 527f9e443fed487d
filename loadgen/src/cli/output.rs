//! What the commands say to the terminal, and the exit codes that they end with.

use std::io::Write;

/// Everything went as asked.
pub const EXIT_OK: u8 = 0;
/// Nothing could be measured.
pub const EXIT_FAILURE: u8 = 1;
/// Wrong arguments.
pub const EXIT_USAGE: u8 = 2;
/// A `--fail-if` condition held.
pub const EXIT_GATE: u8 = 3;

/// Writes to standard output, which a reader like `head` may have closed.
pub fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Says why it ends, and returns the exit code.
pub fn fail(code: u8, why: impl std::fmt::Display) -> u8 {
    eprintln!("slotway-loadgen: {why}");
    code
}
