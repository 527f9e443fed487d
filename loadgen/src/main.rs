//! The `slotway-loadgen` program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    slotway_loadgen::cli::run(std::env::args_os())
}
