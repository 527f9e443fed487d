//! Targets that speak more than plain HTTP: TLS, and event streams.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use slotway_tests::system::{Folder, HubPart};

use super::{SHORT, answering, errors_of, loadgen, program, report, responder, server};

/// Answers each request with 2 bytes over TLS; returns its port and its certificate as PEM.
fn tls_server() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let url = server(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        std::thread::spawn(move || {
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                seen.extend_from_slice(&buffer[..count]);
                while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
                    seen.drain(..end + 4);
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            }
        });
    });
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap();
    (port.to_owned(), made.cert.pem())
}

#[test]
fn a_target_behind_tls_is_measured_if_its_certificate_counts() {
    let (port, certificate) = tls_server();
    let folder = Folder::new();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, certificate).unwrap();
    let file = file.to_str().unwrap();
    let url = format!("https://localhost:{port}/");
    for engine in ["uring-direct", "uring", "epoll"] {
        let flags = [
            "-n",
            "600",
            "-c",
            "3",
            "--io",
            engine,
            "--requests-per-connection",
            "50",
        ];
        let trusted = [&flags[..], &["--cacert", file, "--expect-bytes", "2"]].concat();
        let document = report(&url, &trusted);
        assert_eq!(document["requests"], 600, "{engine}");
        assert_eq!(document["errors"], 0, "{engine}");
        assert!(
            document["connect_ns"]["count"].as_u64().unwrap() >= 12,
            "{engine}"
        );
    }
    let by_address = format!("https://127.0.0.1:{port}/");
    let document = report(&by_address, &["-n", "20", "-k"]);
    assert_eq!(document["requests"], 20);
    for (url, flags, expected) in [
        (&url, &["-n", "5"][..], "does not agree on TLS"),
        (&by_address, &["-n", "5", "--cacert", file], "--insecure"),
        (
            &url,
            &["-n", "5", "--cacert", "/nowhere.pem"],
            "--cacert /nowhere.pem",
        ),
    ] {
        let output = loadgen(&[&[url.as_str()], flags, &SHORT].concat());
        assert_ne!(output.status.code(), Some(0), "{flags:?}");
        let errors = errors_of(&output);
        assert!(errors.contains(expected), "{flags:?}: {errors}");
    }
}

#[test]
fn messages_of_a_websocket_are_exchanged_and_checked() {
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("websocket", "websocket");
    let url = format!("ws://{}/ws", hub.address);
    for engine in ["uring-direct", "uring", "epoll"] {
        for bytes in ["0", "125", "126", "70000"] {
            let flags = [
                "-n",
                "300",
                "-c",
                "3",
                "--io",
                engine,
                "--body-bytes",
                bytes,
            ];
            let document = report(&url, &flags);
            assert_eq!(document["requests"], 300, "{engine} {bytes}");
            assert_eq!(document["errors"], 0, "{engine} {bytes}");
        }
        let document = report(
            &url,
            &[
                "-d", "300ms", "--rate", "500", "--body", "hello", "--io", engine,
            ],
        );
        assert_eq!(document["plan"]["loop"], "open");
        assert!(document["requests"].as_u64().unwrap() > 100);
    }
    // What is no WebSocket, and what does not send the same back.
    let plain = format!("ws://{}/nowhere", hub.address);
    let output = loadgen(&[&[plain.as_str(), "-n", "3"], &SHORT[..]].concat());
    assert!(
        errors_of(&output).contains("status 404"),
        "{}",
        errors_of(&output)
    );
    let _others = hub.start_worker("upgrades", "upgrades");
    let shouting = format!("ws://{}/shout", hub.address);
    let output = loadgen(
        &[
            &[shouting.as_str(), "-n", "3", "--body", "loud"],
            &SHORT[..],
        ]
        .concat(),
    );
    assert_eq!(output.status.code(), Some(1));
}

fn unix_ms() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis()
}

/// Sends an event each 5 ms; the second stream gets each fourth of them, and each event says
/// that it was sent `age_ms` before.
fn send_events(mut stream: TcpStream, index: usize, age_ms: u128) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 4096])?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for number in 0_u64.. {
        std::thread::sleep(Duration::from_millis(5));
        if index == 1 && !number.is_multiple_of(4) {
            continue;
        }
        let event = format!(
            "event: tick\ndata: {{\"n\": {number}, \"t\": {}}}\n\n",
            unix_ms() - age_ms
        );
        // Cut in two, as networks do.
        let (first, second) = event.split_at(event.len() / 2);
        for part in [first, second] {
            stream.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes())?;
        }
    }
    Ok(())
}

fn event_server(age_ms: u128) -> String {
    let count = AtomicUsize::new(0);
    server(move |stream| {
        let index = count.fetch_add(1, Ordering::Relaxed);
        std::thread::spawn(move || send_events(stream, index, age_ms));
    })
}

#[test]
fn events_are_counted_their_delays_measured_and_lagging_streams_told() {
    let url = event_server(40);
    for engine in ["uring-direct", "uring", "epoll"] {
        let flags = ["--sse", "-c", "3", "-d", "1s", "--io", engine];
        let document = report(&url, &flags);
        let number = |part: &Value| part.as_u64().unwrap();
        let streams = &document["event_streams"];
        assert_eq!(document["plan"]["loop"], "events");
        assert_eq!(streams["count"], 3, "{engine}");
        let (least, most) = (
            number(&streams["events_min"]),
            number(&streams["events_max"]),
        );
        assert!(most > 40 && least > 0, "{engine}: {least} to {most}");
        assert_eq!(
            number(&document["requests"]),
            number(&document["latency_ns"]["count"])
        );
        assert!(
            number(&document["latency_ns"]["min"]) >= 39_900_000,
            "{engine}"
        );
        assert_eq!(document["errors"], 0, "{engine}");
        if engine == "uring-direct" {
            // The second of all streams is one of these three.
            assert!(number(&streams["lagging"]) >= 1, "{streams}");
            assert!(least * 3 < most, "{streams}");
        }
    }
}

#[test]
fn what_is_wrong_with_event_streams_is_said() {
    let plain =
        answering(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok");
    let silent = answering(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    let absent = answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    for (url, expected) in [
        (plain, "no event stream"),
        (silent, "ended before any event"),
        (absent, "status 404"),
    ] {
        let output = loadgen(&[&[url.as_str(), "--sse", "-d", "200ms"], &SHORT[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{expected}");
        let errors = errors_of(&output);
        assert!(errors.contains(expected), "{expected}: {errors}");
    }
    let early = event_server(0);
    let output = loadgen(&[&early, "--sse", "--rate", "5"]);
    assert_eq!(output.status.code(), Some(2));
}

/// Runs the program on a terminal of 100 × 30, and sends it SIGINT after `interrupt_after`.
fn on_a_terminal(flags: &str, interrupt_after: Duration) -> (Option<i32>, String) {
    let line = format!(
        "stty cols 100 rows 30; exec {} role loadgen {flags}",
        program().display()
    );
    let child = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("script, of util-linux, starts");
    let mut stdin = child.stdin.take().unwrap();
    let typing = std::thread::spawn(move || {
        std::thread::sleep(interrupt_after);
        // Ctrl-C, as the terminal turns it into a signal; in vain once it has ended.
        let _ = stdin.write_all(b"\x03");
        std::thread::sleep(Duration::from_secs(5));
    });
    let output = child.wait_with_output().unwrap();
    drop(typing);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn a_terminal_shows_the_run_on_its_whole_screen_and_gets_it_back() {
    const ENTER: &str = "\x1b[?1049h";
    const LEAVE: &str = "\x1b[?1049l";
    let (_responder, url) = responder(&[]);
    let flags = format!("{url} -d 600ms --noise-floor 0 --warmup 0");
    for (interrupt_after, seconds, code) in [(60, "600ms", 0), (1, "20s", 130)] {
        let flags = flags.replace("600ms", seconds);
        let (status, shown) = on_a_terminal(&flags, Duration::from_secs(interrupt_after));
        assert_eq!(status, Some(code), "{shown}");
        let (live, report) = shown.split_once(LEAVE).expect("the screen is given back");
        assert!(live.contains(ENTER) && live.contains("so far"), "{live}");
        assert!(
            report.contains("requests/s") && report.contains("p99.9"),
            "{report}"
        );
    }
    let (status, shown) = on_a_terminal(
        &format!("{flags} --progress lines"),
        Duration::from_secs(60),
    );
    assert_eq!(status, Some(0));
    assert!(
        !shown.contains(ENTER) && shown.contains("errors"),
        "{shown}"
    );
    let output = loadgen(&[&url, "-d", "1s", "--progress", "live"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors_of(&output).contains("--progress live: stderr is no terminal"));
}
