//! `just instructions`: how many instructions each part of a request's way through the hub
//! takes (`hub/src/parts.rs`), by callgrind, against the numbers in `tests/instructions.txt`.
//! `--update` writes those anew.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

/// How far a number may be off.
const ROOM_PERCENT: f64 = 3.0;

/// Counts so often; what a run costs by itself is in both, and so in neither.
const COUNTS: [u64; 2] = [1_000, 6_000];

/// The numbers, and the compiler that they are true of.
#[derive(Debug, Default, PartialEq)]
struct Numbers {
    compiler: String,
    parts: Vec<(String, f64)>,
}

fn main() -> ExitCode {
    let is_update = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--update") => true,
        Some(_) => {
            eprintln!("usage: instructions [--update]");
            return ExitCode::from(2);
        }
    };
    match check(is_update) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}

fn check(is_update: bool) -> Result<(), String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let known = read(&text);
    let compiler = output(Command::new("rustc").arg("--version"))?
        .trim()
        .to_owned();
    if known.compiler != compiler && !is_update {
        println!(
            "skipped: the numbers are of {:?} and this is {compiler:?}; `just instructions --update` counts anew",
            known.compiler
        );
        return Ok(());
    }
    let program = build()?;
    let mut counted = Numbers {
        compiler,
        parts: Vec::new(),
    };
    let mut worse = Vec::new();
    println!("{:>10} {:>10}", "before", "now");
    for (name, before) in &known.parts {
        let now = count(&program, name)?;
        let change = 100.0 * (now / before - 1.0);
        println!("{before:>10.0} {now:>10.0}  {change:>+6.1} %  {name}");
        if change.abs() > ROOM_PERCENT {
            worse.push(format!("{name}: {change:+.1} %"));
        }
        counted.parts.push((name.clone(), now));
    }
    if is_update {
        return std::fs::write(&file, write(&counted)).map_err(|error| error.to_string());
    }
    if worse.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more than {ROOM_PERCENT} % off: {}. If that is meant, `just instructions --update` and say why in the commit",
        worse.join(", ")
    ))
}

fn read(text: &str) -> Numbers {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let compiler = lines.next().unwrap_or_default().to_owned();
    let parts = lines.filter_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    });
    let parts = parts.collect();
    Numbers { compiler, parts }
}

fn write(numbers: &Numbers) -> String {
    let mut text = "# Instructions of each part of hub/src/parts.rs, by callgrind; `just instructions --update` writes them\n".to_owned();
    text.push_str(&format!("{}\n", numbers.compiler));
    for (name, number) in &numbers.parts {
        text.push_str(&format!("{number:.0} {name}\n"));
    }
    text
}

/// The hub's unit tests as they are released.
fn build() -> Result<PathBuf, String> {
    let arguments = [
        "test",
        "--release",
        "-p",
        "slotway-hub",
        "--lib",
        "--no-run",
    ];
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .arg("--message-format=json")
        .stderr(Stdio::inherit());
    let messages = output(&mut cargo)?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    programs
        .next_back()
        .ok_or_else(|| "cargo has built no program".to_owned())
}

/// Instructions that doing a part once takes.
fn count(program: &Path, part: &str) -> Result<f64, String> {
    let mut totals = [0.0; 2];
    for (total, count) in totals.iter_mut().zip(COUNTS) {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args(["--exact", "parts::run", "--ignored", "--test-threads=1"])
            .env("PART", part)
            .env("COUNT", count.to_string())
            .stdin(Stdio::null());
        let ran = valgrind
            .output()
            .map_err(|error| format!("valgrind: {error}; install it"))?;
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        let collected = text.lines().find_map(|line| line.split_once("Collected :"));
        let number = collected.and_then(|(_, number)| number.trim().parse().ok());
        *total = match number {
            Some(number) if ran.status.success() => number,
            _ => return Err(format!("{part}: valgrind says\n{text}")),
        };
    }
    Ok((totals[1] - totals[0]) / (COUNTS[1] - COUNTS[0]) as f64)
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{command:?} failed"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numbers = Numbers {
            compiler: "rustc 1.95.0".to_owned(),
            parts: vec![("a part".to_owned(), 12.0), ("another".to_owned(), 3456.0)],
        };
        assert_eq!(read(&write(&numbers)), numbers);
    }
}
