//! Runs that cannot go well: dead targets, interruptions, servers that die or hang.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use slotway_tests::system::{Folder, PATIENCE};

/// Flags of a short run without its noise floor.
const SHORT: [&str; 6] = ["--noise-floor", "0", "--warmup", "0", "--json", "-"];

use super::{answering, command, errors_of, loadgen, responder, server, slow_server};

#[test]
fn every_dead_target_is_said_in_a_sentence_with_what_to_do() {
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let silent = server(std::mem::forget);
    let cases = [
        (refused.as_str(), "refuses connections; is the server up?"),
        (
            "unix:/nonexistent/socket",
            "refuses connections; is the server up?",
        ),
        (&answering(b"SSH-2.0-OpenSSH\r\n"), "no HTTP/1.1"),
        (
            &answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc"),
            "no HTTP/1.1",
        ),
        (&server(drop), "closed the connections without a response"),
        (&silent, "raise --timeout"),
        (
            &answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            "check the path",
        ),
    ];
    for (url, expected) in cases {
        for io in slotway_tests::ENGINES {
            let flags = ["-d", "200ms", "-c", "2", "--timeout", "150ms", "--io", io];
            let output = loadgen(&[&[url], &flags[..], &SHORT].concat());
            let errors = errors_of(&output);
            assert_eq!(output.status.code(), Some(1), "{url} {errors}");
            let last = errors.lines().last().unwrap_or_default();
            assert!(last.contains(expected), "{io} {url}: {errors}");
            assert!(!errors.contains("panicked"), "{errors}");
        }
    }
}

#[test]
fn ctrl_c_ends_a_run_with_its_report_so_far_which_says_that_it_is_partial() {
    let (_responder, url) = responder(&[]);
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (html, hgrm, hlog) = (file("r.html"), file("r.hgrm"), file("r.hlog"));
    for io in slotway_tests::ENGINES {
        let flags = [
            &url, "-d", "60", "-c", "4", "--rate", "500", "--io", io, "--html", &html, "--hgrm",
            &hgrm, "--hlog", &hlog,
        ];
        let mut child = command(&[&flags[..], &SHORT].concat()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut log = String::new();
        // The first line of progress comes after the first interval.
        while !log.contains("requests/s") {
            let mut piece = [0; 1024];
            let bytes = stderr.read(&mut piece).unwrap();
            assert!(bytes > 0, "it ended: {log}");
            log.push_str(&String::from_utf8_lossy(&piece[..bytes]));
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{io} {log}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["partial"], true);
        assert_eq!(report["errors"], 0, "what was under way is not counted");
        assert!(report["requests"].as_u64().unwrap() > 100);
        assert!(std::fs::read_to_string(&html).unwrap().contains("PARTIAL"));
        assert!(
            std::fs::read_to_string(&hgrm)
                .unwrap()
                .contains("Total count")
        );
        assert!(std::fs::read_to_string(&hlog).unwrap().lines().count() > 5);
    }
}

#[test]
fn a_server_that_dies_under_load_leaves_errors_and_a_report() {
    let (responder, url) = responder(&[]);
    let child = command(&[&[&url[..], "-d", "2", "-c", "4"], &SHORT[..]].concat())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(700));
    drop(responder);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors_of(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["requests"].as_u64().unwrap() > 0);
    assert!(
        report["errors_by_kind"]["connection refused"]
            .as_u64()
            .unwrap()
            > 0,
        "{report}"
    );
}

#[test]
fn what_hangs_when_a_run_is_ended_counts_with_the_time_it_has_waited() {
    let url = slow_server(PATIENCE * 3);
    let flags = [
        &url[..],
        "--rate",
        "100",
        "-c",
        "4",
        "-d",
        "60",
        "--timeout",
        "90",
    ];
    let child = command(&[&flags[..], &SHORT].concat()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["waited"].as_u64().unwrap() > 50, "{report}");
    assert!(
        report["latency_ns"]["p50"].as_u64().unwrap() > 100_000_000,
        "{report}"
    );
    assert_eq!(output.status.code(), Some(130), "{}", errors_of(&output));
}

#[test]
fn a_body_that_drips_without_end_is_a_timeout_not_an_answer() {
    let url = server(|mut stream| {
        std::thread::spawn(move || {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    });
    for io in slotway_tests::ENGINES {
        let flags = ["-c", "2", "-d", "500ms", "--timeout", "150ms", "--io", io];
        let output = loadgen(&[&[&url[..]], &flags[..], &SHORT].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["requests"], 0, "{report}");
        assert!(
            report["errors_by_kind"]["timeout"].as_u64().unwrap() >= 2,
            "{report}"
        );
    }
}

#[test]
fn ctrl_c_ends_a_run_that_is_still_connecting() {
    let (_responder, url) = responder(&[]);
    let flags = [&url[..], "-c", "100", "--connect-rate", "0.01"];
    let child = command(&[&flags[..], &SHORT].concat()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < PATIENCE, "it waited for its next turn");
    assert_eq!(output.status.code(), Some(130));
    assert!(errors_of(&output).contains("before anything was measured"));
}

#[test]
fn a_page_is_written_though_nothing_was_answered_rightly() {
    let url = answering(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
    let folder = Folder::new();
    let page = folder.path().join("r.html");
    let flags = ["-n", "3", "-c", "1", "--html", page.to_str().unwrap()];
    let output = loadgen(&[&[&url[..]], &flags[..], &SHORT].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        std::fs::read_to_string(&page)
            .unwrap()
            .contains("status 500")
    );
}

#[test]
fn a_comparison_whose_target_dies_keeps_its_whole_rounds() {
    let folder = Folder::new();
    let saved = folder.path().join("rounds.json");
    let (_a, a) = responder(&[]);
    let (b_part, b) = responder(&[]);
    let flags = [
        "compare", "--a", &a, "--b", &b, "-c", "2", "-d", "200ms", "--warmup", "0",
    ];
    let more = ["--rounds", "100", "--save", saved.to_str().unwrap()];
    let child = command(&[&flags[..], &more].concat()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    drop(b_part);
    let output = child.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("PARTIAL") && shown.contains("b: "),
        "{shown} {}",
        errors_of(&output)
    );
    let document: Value = serde_json::from_str(&std::fs::read_to_string(&saved).unwrap()).unwrap();
    assert!(
        !document["targets"][0]["rounds"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}
