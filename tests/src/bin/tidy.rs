//! Counts the files, rooms, imports and circles of each crate: `tidy [WORKSPACE]`. What
//! must hold is tested by `tests/tests/tidy.rs`.

use std::path::PathBuf;

use slotway_tests::tidy::Crate;

fn main() {
    let workspace = std::env::args_os().nth(1).map(PathBuf::from);
    let workspace = workspace.unwrap_or_else(|| PathBuf::from("."));
    println!("crate       files  rooms  imports  circles  files in the largest circle");
    for name in ["hub", "worker-sdk", "shm-proto", "net", "loadgen"] {
        let own = Crate::read(&workspace, name);
        let circles = own.circles();
        println!(
            "{name:<11} {:>5}  {:>5}  {:>7}  {:>7}  {:>27}",
            own.files.len(),
            own.rooms().len(),
            own.arrow_count(),
            circles.len(),
            circles.first().map_or(0, Vec::len)
        );
        for circle in circles {
            println!("            circle: {}", circle.join(" "));
        }
    }
}
