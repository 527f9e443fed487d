//! The `slotway-hub` program; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    slotway_hub::cli::run(std::env::args_os())
}
