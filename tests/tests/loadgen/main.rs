//! The load generator as its users run it: right figures on both engines, and
//! one sentence for everything that can be wrong.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use slotway_tests::system::{Folder, HubPart, Part, address_in};

/// Flags of a short run without its noise floor.
const SHORT: [&str; 6] = ["--noise-floor", "0", "--warmup", "0", "--json", "-"];

mod deciding;
mod failures;
mod targets;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["role", "loadgen"]).args(flags);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn loadgen(flags: &[&str]) -> Output {
    command(flags).output().expect("the program starts")
}

fn errors_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON report of a run that is expected to go well.
fn report(url: &str, flags: &[&str]) -> Value {
    let output = loadgen(&[&[url], flags, &SHORT].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors_of(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn responder(flags: &[&str]) -> (Part, String) {
    let mut part = Part::start(program(), "responder", flags);
    let address = address_in(&part.first_line()).expect("it says where it listens");
    (part, format!("http://{address}/"))
}

/// A server that does the same to every connection.
fn server(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream);
        }
    });
    url
}

/// A server that answers each request with these bytes, and then closes.
fn answering(bytes: &'static [u8]) -> String {
    server(move |mut stream| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(bytes);
    })
}

#[test]
fn a_count_of_requests_is_sent_and_answered_exactly_on_each_engine() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("echo", "echo");
    let url = format!("{}/api/items/7", hub.url());
    for io in slotway_tests::ENGINES {
        for rate in [&["--rate", "5000"][..], &[]] {
            let flags = [
                &[
                    "-n",
                    "1000",
                    "-c",
                    "8",
                    "-t",
                    "2",
                    "--io",
                    io,
                    "--expect-bytes",
                    "6",
                ],
                rate,
            ];
            let report = report(&url, &flags.concat());
            assert_eq!(report["requests"], 1000, "{io} {rate:?}");
            assert_eq!(report["latency_ns"]["count"], 1000);
            assert_eq!(
                (&report["errors"], &report["unsent"]),
                (&0.into(), &0.into())
            );
        }
    }
}

#[test]
fn bodies_go_out_and_come_back_and_their_hash_is_checked() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("echo", "echo");
    let url = format!("{}/api/echo", hub.url());
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let flags = [
        "-n",
        "20",
        "-c",
        "2",
        "--body",
        "hello",
        "-H",
        "X-Test: yes",
    ];
    let right = report(&url, &[&flags[..], &["--expect-sha256", hello]].concat());
    assert_eq!(right["requests"], 20);
    let big = report(
        &url,
        &[
            "-n",
            "4",
            "-c",
            "2",
            "--body-bytes",
            "3000000",
            "--expect-bytes",
            "3000000",
        ],
    );
    assert_eq!(big["requests"], 4);

    let wrong = "0".repeat(64);
    let output = loadgen(
        &[
            &[&url[..]],
            &flags[..],
            &["--expect-sha256", &wrong],
            &SHORT,
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors_of(&output).contains("wrong body hash"),
        "{}",
        errors_of(&output)
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["errors_by_kind"]["wrong body hash"], 20);
}

#[test]
fn chunked_and_close_delimited_answers_are_read_to_their_end() {
    let chunked = answering(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
    );
    let until_close = answering(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabcde");
    for url in [chunked, until_close] {
        for io in slotway_tests::ENGINES {
            let flags = ["-n", "10", "-c", "2", "--io", io, "--expect-bytes", "5"];
            assert_eq!(report(&url, &flags)["requests"], 10, "{io}");
        }
    }
}

#[test]
fn several_urls_are_asked_for_by_weight() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("echo", "echo");
    let folder = Folder::new();
    let file = folder.path().join("urls");
    let text = format!("# mix\n3 {0}/api/items/1\n1 {0}/nothing\n", hub.url());
    std::fs::write(&file, text).unwrap();
    let flags = ["--urls", file.to_str().unwrap(), "-n", "400", "-c", "4"];
    let output = loadgen(&[&flags[..], &SHORT].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["requests"], 300, "{report}");
    assert_eq!(report["errors_by_kind"]["status 404"], 100);
}

#[test]
fn connections_are_replaced_after_their_share_of_requests() {
    let url = server(|mut stream| {
        // Three requests are answered; a fourth would find nobody.
        for _ in 0..3 {
            let mut request = [0; 4096];
            if !matches!(stream.read(&mut request), Ok(1..)) {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let flags = [
        "-n",
        "30",
        "-c",
        "1",
        "--requests-per-connection",
        "3",
        "--connect-rate",
        "1000",
    ];
    let report = report(&url, &flags);
    assert_eq!(
        (&report["requests"], &report["errors"]),
        (&30.into(), &0.into())
    );
}

#[test]
fn a_stall_shows_in_full_from_the_intended_times() {
    let (_responder, url) = responder(&["1000", "200"]);
    let flags = ["-c", "16", "--rate", "1000", "-d", "3"];
    let report = report(&url, &flags);
    // A fifth of the requests is delayed evenly by 0 to 200 ms: p95 is 150 ms.
    let p95 = report["latency_ns"]["p95"].as_u64().unwrap();
    assert!(p95 >= 100_000_000, "{p95} ns");
    // From sending, only the 16 that were under way are late.
    let service_p50 = report["service_ns"]["p50"].as_u64().unwrap();
    assert!(service_p50 < p95, "{service_p50} ns");
}

#[test]
fn what_the_hub_says_of_its_phases_becomes_histograms() {
    let hub = HubPart::start(program(), &["--server-timing"]);
    let _worker = hub.start_worker("echo", "echo");
    let url = format!("{}/api/items/7", hub.url());
    let report = report(&url, &["-n", "100", "-c", "2"]);
    for phase in ["parse", "queue", "worker", "write"] {
        let summary = &report["phases_ns"][phase];
        assert_eq!(summary["count"], 100, "{phase}: {report}");
        assert!(summary["max"].as_u64().unwrap() > 0, "{phase}");
    }
}

#[test]
fn a_unix_socket_is_asked_like_any_other_target() {
    let folder = Folder::new();
    let path = folder.path().join("http.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while matches!(stream.read(&mut request), Ok(1..)) {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let found = text.starts_with("GET /some/path HTTP/1.1\r\nHost: localhost\r\n");
                    let status = if found { "200 OK" } else { "404 Not Found" };
                    let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    let _ = stream.write_all(response.as_bytes());
                }
            });
        }
    });
    let url = format!("unix:{}:/some/path", path.display());
    for io in slotway_tests::ENGINES {
        assert_eq!(
            report(&url, &["-n", "50", "-c", "4", "--io", io])["requests"],
            50
        );
    }
}

#[test]
fn wrong_flags_are_named_and_end_with_2() {
    let folder = Folder::new();
    let urls = folder.path().join("urls");
    std::fs::write(&urls, "http://127.0.0.1:1/\nhttp://127.0.0.1:2/\n").unwrap();
    let urls = urls.to_str().unwrap();
    let url = "http://127.0.0.1:1/";
    for (flags, expected) in [
        (&[][..], "<URL>"),
        (&[url, "-k", "--cacert", "x"], "cannot be used with"),
        (&["127.0.0.1:80"], "expected http://"),
        (&[url, "--rate", "0"], "like 20000"),
        (&[url, "--rate", "5:x"], "ramp"),
        (&[url, "-c", "0"], "-c 0"),
        (
            &[url, "-t", "5", "-c", "4"],
            "each thread needs a connection",
        ),
        (&[url, "-d", "0"], "nothing would be measured"),
        (&[url, "-d", "5d"], "like 10, 500ms"),
        (&[url, "-n", "5", "-d", "5"], "cannot be used with"),
        (
            &[url, "--body", "a", "--body-bytes", "5"],
            "cannot be used with",
        ),
        (&[url, "--body-file", "/nonexistent"], "--body-file"),
        (&[url, "-H", "nonsense"], "Name: value"),
        (&[url, "--io", "fast"], "auto, uring-direct, uring or epoll"),
        (&[url, "--spin", "--io", "uring"], "epoll only"),
        (&[url, "--fail-if", "p99"], "p99>2ms"),
        (&[url, "--expect-sha256", "12"], "64 hexadecimal"),
        (&[url, "--urls", urls], "cannot be used with"),
        (&["--urls", urls], "two servers"),
        (&[url, "--html", "/nonexistent/x.html"], "cannot write"),
        (&[url, "-c", "4000000"], "-c 4000000"),
        (&["compare", "--a", url], "1 target to compare"),
        (
            &["compare", "--a", url, "--target", "a=http://127.0.0.1:2/"],
            "two targets are named a",
        ),
        (
            &["compare", "--a", url, "--b", url, "--start", "c=true"],
            "no target of that name",
        ),
        (
            &["compare", "--a", url, "--b", url, "--rounds", "1"],
            "--rounds",
        ),
    ] {
        let output = loadgen(flags);
        let errors = errors_of(&output);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {errors}");
        assert!(errors.contains(expected), "{flags:?}: {errors}");
    }
}

#[test]
fn a_rate_that_cannot_be_reached_is_said_and_what_was_not_sent_is_counted() {
    let (_responder, url) = responder(&["20", "18"]);
    let report = report(&url, &["-c", "1", "--rate", "200000", "-d", "500ms"]);
    assert!(report["unsent"].as_u64().unwrap() > 10_000, "{report}");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("RATE NOT REACHED"), "{warnings}");
}

#[test]
fn gates_fail_with_3_and_the_reason() {
    let (_responder, url) = responder(&[]);
    let gates = [
        "-n",
        "100",
        "-c",
        "2",
        "--fail-if",
        "p50>1ns",
        "--fail-if",
        "errors>0",
    ];
    let output = loadgen(&[&[&url[..]], &gates[..], &SHORT].concat());
    assert_eq!(output.status.code(), Some(3));
    let errors = errors_of(&output);
    assert!(errors.contains("--fail-if 'p50>1ns': it was"), "{errors}");
    assert!(!errors.contains("errors>0"), "{errors}");
}

#[test]
fn a_comparison_starts_its_targets_gives_ratios_and_keeps_them_for_another_day() {
    let folder = Folder::new();
    let (_responder, url) = responder(&[]);
    // Outside the range that the system hands out, so that nobody gets it meanwhile.
    let port = (20_000 + std::process::id() % 10_000).to_string();
    let socket = folder.path().join("attach.sock");
    let start = format!(
        "hub=exec {} role hub --port {port} --socket {}",
        program().display(),
        socket.display()
    );
    let hub = format!("hub=http://127.0.0.1:{port}/health");
    let bare = format!("bare={url}");
    let saved = folder.path().join("rounds.json");
    let json = folder.path().join("compare.json");
    let (saved, json) = (saved.to_str().unwrap(), json.to_str().unwrap());
    let load = ["-c", "2", "-d", "150ms", "--warmup", "0", "--rounds", "4"];
    let targets = [
        "compare", "--target", &bare, "--target", &hub, "--start", &start,
    ];
    let output = loadgen(&[&targets[..], &load, &["--save", saved, "--json", json]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors_of(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        shown.contains("hub / bare") && shown.contains("CPU/request"),
        "{shown}"
    );
    let document: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(
        document["targets"][0]["rounds"].as_array().unwrap().len(),
        4
    );
    assert!(document["targets"][1]["rounds"][0]["cpu_ns"].is_number());
    assert!(!socket.exists(), "the hub was stopped");

    let again = ["compare", "--target", &bare, "--baseline", saved];
    let output = loadgen(&[&again[..], &load].concat());
    assert_eq!(output.status.code(), Some(0), "{}", errors_of(&output));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("bare / bare then ("), "{shown}");
    assert!(shown.contains("measured in another run"), "{shown}");
}

/// A server that answers each request on a connection after a pause.
fn slow_server(pause: Duration) -> String {
    server(move |mut stream| {
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            while matches!(stream.read(&mut request), Ok(1..)) {
                std::thread::sleep(pause);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            }
        });
    })
}

#[test]
fn a_target_that_is_slow_but_keeps_up_has_reached_the_rate() {
    let url = slow_server(Duration::from_millis(200));
    let report = report(&url, &["--rate", "50", "-c", "32", "-d", "1"]);
    assert_eq!(report["requests"], 50, "{report}");
    assert_eq!(report["unsent"], 0);
    assert!(
        !report["warnings"].to_string().contains("NOT REACHED"),
        "{report}"
    );
    let rate = report["requests_per_s"].as_f64().unwrap();
    assert!((rate - 50.0).abs() < 0.01, "{rate}");
}

#[test]
fn throughput_counts_what_was_answered_in_the_time_whenever_it_was_asked_for() {
    let url = slow_server(Duration::from_millis(900));
    // All answers in this second are to questions from before it.
    let output = loadgen(&[
        &url,
        "-c",
        "8",
        "-d",
        "1",
        "--warmup",
        "500ms",
        "--noise-floor",
        "0",
        "--json",
        "-",
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["requests"].as_u64().unwrap() >= 8, "{report}");
}
