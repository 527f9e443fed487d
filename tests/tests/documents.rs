//! The documents are right as they are written: their console blocks are run, and what they show is what comes.
//! A line with `$ ` is a command, one with `> ` goes on with it, and all others are its output, in which `…` is
//! anything.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use slotway_tests::machine::Machine;
use slotway_tests::system::Folder;

fn workspace() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    folder.canonicalize().unwrap()
}

/// A command of a document, and what it shows.
struct Step {
    command: String,
    shown: Vec<String>,
}

fn steps(document: &str) -> Vec<Step> {
    let text = std::fs::read_to_string(workspace().join("docs").join(document)).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_inside = line == "```console";
        } else if is_inside {
            let step = steps.last_mut();
            match (line.strip_prefix("$ "), line.strip_prefix('>'), step) {
                (Some(command), ..) => steps.push(Step {
                    command: command.to_owned(),
                    shown: Vec::new(),
                }),
                (_, Some(more), Some(step)) => {
                    let more = more.strip_prefix(' ').unwrap_or(more);
                    let _ = write!(step.command, "\n{more}");
                }
                (_, _, Some(step)) => step.shown.push(line.to_owned()),
                _ => panic!("{document}: output without a command: {line}"),
            }
        }
    }
    assert!(!steps.is_empty(), "{document} has no console block");
    steps
}

/// Between what the commands print.
const MARK: &str = "@@ the next step @@";

/// All commands of a document, one after the other in one shell.
fn script(steps: &[Step], before: &str) -> String {
    // All of its group, which `timeout` has made: a hub that was replaced is no job of this shell's.
    let mut script = format!("trap 'trap \"\" TERM; kill 0' EXIT\nexec 2>&1\n{before}\n");
    for step in steps {
        let _ = writeln!(script, "{}\necho '{MARK}'", step.command);
    }
    script
}

/// Whether a line is as it is shown.
fn is_as_shown(line: &str, shown: &str) -> bool {
    let mut rest = line;
    for (index, piece) in shown.split('…').enumerate() {
        let piece = if index == 0 {
            piece.trim_start()
        } else {
            piece.trim()
        };
        match rest.find(piece) {
            Some(at) if index > 0 || at == 0 => rest = &rest[at + piece.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || shown.ends_with('…')
}

fn compare(document: &str, steps: &[Step], printed: &str) {
    let mark = format!("{MARK}\n");
    let mut parts = printed.split(&mark);
    for step in steps {
        let part = parts.next().unwrap_or_default();
        let lines: Vec<_> = part.lines().map(str::trim).collect();
        let shown: Vec<_> = step.shown.iter().map(|line| line.trim()).collect();
        let is_right = lines.len() == shown.len()
            && lines
                .iter()
                .zip(&shown)
                .all(|(line, shown)| is_as_shown(line, shown));
        assert!(
            is_right,
            "{document}: {}\nshows {shown:#?}\nand what came is {lines:#?}\n{printed}",
            step.command
        );
    }
}

/// Programs by the names that the documents have for them.
fn programs(folder: &Path) {
    let demo = env!("CARGO_BIN_EXE_demo");
    for (name, role) in [
        ("slotway-hub", "hub"),
        ("slotway-loadgen", "loadgen"),
        ("echo-worker", "echo http://127.0.0.1:1 echo"),
    ] {
        let path = folder.join(name);
        slotway_tests::system::write_script(
            &path,
            &format!("#!/bin/sh\nexec {demo} role {role} \"$@\"\n"),
        );
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, all).unwrap();
    }
}

fn run(document: &str) {
    let steps = steps(document);
    let folder = Folder::new();
    let (own, work) = (folder.path().join("bin"), folder.path().join("work"));
    std::fs::create_dir(&own).unwrap();
    std::fs::create_dir(&work).unwrap();
    programs(&own);
    let search = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["60", "bash", "-c", &script(&steps, "")])
        .env("PATH", format!("{}:{search}", own.display()))
        .env_remove("HUB_SECRET")
        .current_dir(&work)
        .output()
        .unwrap();
    compare(document, &steps, &String::from_utf8_lossy(&output.stdout));
}

#[test]
fn from_slotbus_is_right() {
    run("from-slotbus.md");
}

#[test]
fn the_comparison_is_right() {
    run("comparison.md");
}

#[test]
fn security_is_right() {
    run("security.md");
}

/// With a package, a machine to install it in, and Rust.
#[test]
fn the_tutorial_is_right() {
    let Some(package) = std::env::var_os("SLOTWAY_DEB").map(PathBuf::from) else {
        println!("skipped: SLOTWAY_DEB names no package (just deb)");
        return;
    };
    let Some(machine) = Machine::boot() else {
        return;
    };
    let steps = steps("tutorial.md");
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    programs(&folder.path().join("bin"));
    // The hub is the package's there.
    std::fs::remove_file(folder.path().join("bin/slotway-hub")).unwrap();
    let (home, cargo) = (std::env::var("HOME").unwrap(), env!("CARGO"));
    let cargo = Path::new(cargo).parent().unwrap().display();
    let before = format!(
        "export HOME={home} SLOTWAY={} CARGO_NET_OFFLINE=true PATH={cargo}:{}:$PATH\n\
         sudo() {{ \"$@\"; }}\nmkdir -p /tmp/tutorial/hello && cd /tmp/tutorial && cp {} hello/slotway-hub.deb",
        workspace().display(),
        folder.path().join("bin").display(),
        package.display()
    );
    machine.write("/tmp/tutorial.sh", &script(&steps, &before));
    let printed = machine.must("timeout 600 bash /tmp/tutorial.sh");
    compare("tutorial.md", &steps, &printed);
}

#[test]
fn a_line_is_as_shown_if_all_but_the_gaps_is_the_same() {
    assert!(is_as_shown("a b c", "a b c") && is_as_shown("a b c", "a…c"));
    assert!(is_as_shown("a b c", "a…") && is_as_shown("a b c", "…c"));
    assert!(!is_as_shown("a b c", "a b") && !is_as_shown("a b c", "b…") && !is_as_shown("x", "a…"));
}
