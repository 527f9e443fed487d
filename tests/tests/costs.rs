//! How many system calls a small request costs: a number that noise hardly moves.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use slotway_tests::has_program;
use slotway_tests::system::{HubPart, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

slotway_tests::on_each_engine! {
    requests_at_64_connections_share_their_system_calls
}

const REQUEST_COUNT: u32 = 20_000;

/// System calls of all threads of a process while `work` is done, by `strace -c`.
fn count_syscalls(part: &Part, work: impl FnOnce()) -> u32 {
    let pid = part.pid().as_raw_nonzero().to_string();
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-p", &pid])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Until it has the threads.
    while tracer_of(&pid) == "0" {
        assert!(strace.try_wait().unwrap().is_none(), "strace has ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    work();
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    let output = strace.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    // `% time, seconds, usecs/call, calls, errors, syscall`; errors may be missing.
    let calls = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let name = *words.last()?;
        // Who waits for two milliseconds is watched for its client leaving: what that costs
        // follows from how slow strace is.
        let counts = words.len() >= 5 && name != "epoll_ctl" && name != "total";
        counts.then(|| words[3].parse::<u32>().ok())?
    });
    calls.sum()
}

fn tracer_of(pid: &str) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tracers = tasks.flatten().map(|task| {
        let text = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:"));
        line.unwrap_or("0").trim().to_owned()
    });
    // The last one counts.
    tracers.min().unwrap_or_default()
}

fn requests_at_64_connections_share_their_system_calls(io: &str) {
    if !has_program("strace") {
        return;
    }
    let hub = HubPart::start_role(program(), "hub-traceable", &["--io", io]);
    let worker = hub.start_worker("echo", "echo");
    let calls = count_syscalls(&hub.part, || {
        let (count, url) = (
            REQUEST_COUNT.to_string(),
            format!("{}/api/items/42", hub.url()),
        );
        let flags = ["-c", "64", "-n", &count, "--warmup", "0s", &url];
        let mut load = Part::start(program(), "loadgen", &flags);
        assert!(load.wait().success(), "{}", load.log());
    });
    let per_request = f64::from(calls) / f64::from(REQUEST_COUNT);
    println!("{io}: {per_request:.2} system calls for each request");
    // One sends; on epoll another receives. The rest is shared by those of a turn.
    let most = if io == "epoll" { 2.6 } else { 1.6 };
    assert!(
        per_request < most,
        "{io}: {per_request:.2} system calls for each request"
    );
    drop(worker);
}
