//! Bodies of unknown length that stop coming for a while: their handlers have them then, where that
//! takes nothing from others.

use std::path::Path;
use std::time::Duration;

use slotway_tests::http::{self, Connection};
use slotway_tests::scrape::Scrape;
use slotway_tests::system::{HubPart, wait_until};
use slotway_worker_sdk::response::Response;
use slotway_worker_sdk::{
    BodyClosed, HubWorker, Method, Request, RequestBody, Route, RunningWorker,
};
use tokio::runtime::Runtime;

slotway_tests::on_each_engine! {
    wherever_a_body_pauses_it_and_the_next_request_come_whole
    clients_that_pause_have_a_quarter_of_the_slots_and_others_the_rest
    a_client_that_waits_for_its_handler_has_the_handlers_time
    a_client_that_pauses_has_the_time_of_a_body_whatever_its_route_has
    a_pause_that_never_ends_is_ended_and_said
    a_silence_of_both_after_the_response_has_begun_cuts_it_off
    a_client_that_came_while_its_worker_was_away_may_pause_as_well
    a_body_that_pauses_waits_in_the_hub_for_a_handler_that_takes_it_whole
    where_few_requests_run_at_a_time_none_waits_for_its_client
    a_body_that_fails_after_a_pause_is_refused
    a_response_that_ends_before_its_body_ends_the_connection
    a_client_that_is_never_asked_for_its_body_gets_a_long_response_whole
}

/// Longer than a body may be silent without pausing.
const PAUSE: Duration = Duration::from_millis(130);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

async fn count(request: Request, mut body: RequestBody) -> Response {
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = body.next().await {
        bytes.extend_from_slice(piece);
    }
    let trailers = body.trailers().map(|(name, value)| {
        let value = String::from_utf8_lossy(value);
        format!(" {name}={value}")
    });
    let trailers: String = trailers.collect();
    let text = String::from_utf8_lossy(&bytes);
    request.response(200).text(format_args!("{text}{trailers}"))
}

/// Takes its time after the first piece.
async fn think(request: Request, mut body: RequestBody) -> Response {
    let first = body.next().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let text = first.map(|piece| piece.map(|piece| String::from_utf8_lossy(piece).into_owned()));
    match text {
        Ok(Some(text)) => request.response(200).text(text),
        other => request.response(500).text(format_args!("{other:?}")),
    }
}

/// Sends back what comes.
fn echo(request: &Request, mut body: RequestBody) -> Response {
    let (response, mut sender) = request.response(200).stream();
    tokio::spawn(async move {
        while let Ok(Some(piece)) = body.next().await {
            sender.send(piece).await?;
        }
        sender.finish();
        Ok::<_, BodyClosed>(())
    });
    response
}

/// Has read enough of its body before it ends.
async fn enough(request: Request, mut body: RequestBody) -> Response {
    let _ = body.next().await;
    let (response, mut sender) = request.response(200).stream();
    tokio::spawn(async move {
        sender.send(b"enough").await?;
        sender.finish();
        Ok::<_, BodyClosed>(())
    });
    response
}

/// Does not read its body, and takes three times the time of one.
fn deaf(request: &Request) -> Response {
    let (response, mut sender) = request.response(200).stream();
    tokio::spawn(async move {
        sender.send(b"well").await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        sender.send(b"well").await?;
        sender.finish();
        Ok::<_, BodyClosed>(())
    });
    response
}

/// A worker, and what its handlers run on.
struct Reader {
    running: RunningWorker,
    _runtime: Runtime,
}

impl Reader {
    fn end(self) {
        self.running.stop();
        self.running.wait().unwrap();
    }
}

fn start(io: &str, flags: &[&str]) -> (HubPart, Reader) {
    let hub = HubPart::start(program(), &[&["--io", io], flags].concat());
    let reader = serve(&hub);
    (hub, reader)
}

fn serve(hub: &HubPart) -> Reader {
    let runtime = Runtime::new().unwrap();
    let within = runtime.enter();
    let worker = HubWorker::new(&hub.url(), "reader", ()).hub_socket(&hub.socket);
    let reading =
        |path| Route::in_place_stream(Method::Post, path, |_, request, body| count(request, body));
    let running = worker
        .routes([reading("/count"), reading("/few").concurrency(2)])
        .in_place_stream(Method::Post, "/think", |_, request, body| {
            think(request, body)
        })
        .in_place_stream(Method::Post, "/echo", |_, request, body| async move {
            echo(&request, body)
        })
        .in_place_stream(Method::Post, "/enough", |_, request, body| {
            enough(request, body)
        })
        .in_place_stream(Method::Post, "/deaf", |_, request, _| async move {
            deaf(&request)
        })
        .in_place(Method::Post, "/whole", |(), request| {
            let text = String::from_utf8_lossy(request.body()).into_owned();
            request.response(200).text(text)
        })
        .in_place(Method::Get, "/next", |(), request| {
            request.response(200).text("the next")
        })
        .start()
        .unwrap();
    wait_until("it is attached", || hub.health().contains("\"reader\""));
    drop(within);
    Reader {
        running,
        _runtime: runtime,
    }
}

fn head(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
}

fn open(hub: &HubPart, path: &str, chunks: &str) -> Connection {
    let mut client = Connection::open(hub.address);
    client.send(head(path) + chunks);
    client
}

fn in_use(hub: &HubPart) -> u64 {
    Scrape::of(hub.address).count("slotway_slots", &[("state", "in_use")])
}

fn wherever_a_body_pauses_it_and_the_next_request_come_whole(io: &str) {
    let (hub, worker) = start(
        io,
        &[
            "--slots",
            "1024",
            "--head-timeout",
            "60",
            "--body-timeout",
            "60",
        ],
    );
    // One answers once it has all of it, and the other as it comes.
    for (path, expected) in [
        ("/count", "well, this is a body x-sum=17"),
        ("/echo", "well, this is a body"),
    ] {
        pause_everywhere(&hub, path, expected);
        wait_until("all slots are free", || in_use(&hub) == 0);
    }
    worker.end();
}

fn pause_everywhere(hub: &HubPart, path: &str, expected: &str) {
    let chunks = "4;a=b\r\nwell\r\n0010\r\n, this is a body\r\n000\r\nx-sum: 17\r\n\r\n";
    let all = head(path) + chunks + "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut clients: Vec<_> = (1..all.len())
        .map(|cut| {
            let mut client = Connection::open(hub.address);
            client.send(&all[..cut]);
            (cut, client)
        })
        .collect();
    std::thread::sleep(PAUSE);
    // And once more a little later, so that what is left of a line pauses as well.
    for (cut, client) in &mut clients {
        client.send(&all[*cut..][..1]);
    }
    std::thread::sleep(PAUSE);
    for (cut, client) in &mut clients {
        client.send(&all[*cut + 1..]);
        let response = client.read_response("POST").unwrap();
        let cut_in = &all[..*cut];
        assert_eq!(response.text(), expected, "{cut_in:?}");
        assert_eq!(response.field("connection"), None, "{cut_in:?}");
        let next = client.read_response("GET").unwrap();
        assert_eq!(next.text(), "the next", "{cut_in:?}");
    }
}

fn clients_that_pause_have_a_quarter_of_the_slots_and_others_the_rest(io: &str) {
    let (hub, worker) = start(
        io,
        &["--slots", "16", "--reactors", "1", "--body-timeout", "60"],
    );
    let piece = |number| if number % 2 == 0 { "" } else { "3\r\nabc\r\n" };
    let mut pausing: Vec<_> = (0..40)
        .map(|number| open(&hub, "/count", piece(number)))
        .collect();
    wait_until("clients that pause are handed over", || in_use(&hub) >= 4);
    // They try again.
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(in_use(&hub), 4);
    // A body that comes slowly and is longer than a slot has a place that none of them may have.
    let mut slow: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Connection::open(hub.address);
            client.send("POST /count HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n");
            client.send(vec![b's'; 200_000]);
            client
        })
        .collect();
    wait_until("they are handed over", || in_use(&hub) == 8);
    for _ in 0..20 {
        let response = http::get(hub.address, "/next");
        assert_eq!(response.text(), "the next");
    }
    assert_eq!(in_use(&hub), 8);
    for client in &mut slow {
        client.send(vec![b's'; 100_000]);
        assert_eq!(client.read_response("POST").unwrap().body.len(), 300_000);
    }
    for (number, client) in pausing.iter_mut().enumerate() {
        client.send("2\r\nde\r\n0\r\n\r\n");
        let response = client.read_response("POST").unwrap();
        let text = if number % 2 == 0 { "de" } else { "abcde" };
        assert_eq!((response.status, response.text().as_str()), (200, text));
    }
    wait_until("all slots are free", || in_use(&hub) == 0);
    worker.end();
}

fn a_client_that_waits_for_its_handler_has_the_handlers_time(io: &str) {
    let (hub, worker) = start(io, &["--body-timeout", "2"]);
    let mut client = open(&hub, "/think", "3\r\nabc\r\n");
    // It says nothing more before it is answered, which takes twice the time of a body.
    let response = client.read_response("POST").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
    worker.end();
}

fn a_client_that_pauses_has_the_time_of_a_body_whatever_its_route_has(io: &str) {
    let (hub, worker) = start(io, &["--timeout", "2"]);
    let mut client = open(&hub, "/count", "3\r\nabc\r\n");
    std::thread::sleep(Duration::from_secs(3));
    client.send("1\r\nd\r\n0\r\n\r\n");
    let response = client.read_response("POST").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "abcd"));
    worker.end();
}

fn a_pause_that_never_ends_is_ended_and_said(io: &str) {
    let (hub, worker) = start(io, &["--timeout", "1", "--body-timeout", "2"]);
    let mut client = open(&hub, "/count", "3\r\nabc\r\n");
    let response = client.read_response("POST").unwrap();
    assert_eq!(response.status, 408);
    let why = "neither the rest of the request body nor a response came in time";
    assert!(response.text().contains(why), "{}", response.text());
    hub.part
        .wait_for_log("a request to POST /count was given up: neither more of its body");
    wait_until("its slot is free", || in_use(&hub) == 0);
    let fault = [("fault", "both_silent")];
    let counted = Scrape::of(hub.address).count("slotway_faults_total", &fault);
    assert_eq!(counted, 1);
    worker.end();
}

fn a_silence_of_both_after_the_response_has_begun_cuts_it_off(io: &str) {
    let (hub, worker) = start(io, &["--timeout", "1", "--body-timeout", "2"]);
    let mut client = open(&hub, "/echo", "3\r\nabc\r\n");
    assert_eq!(client.read_head().unwrap().status, 200);
    assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"abc"[..]));
    let mut rest = Vec::new();
    let ended = client.read_rest(&mut rest);
    assert!(ended.is_err() || !rest.ends_with(b"0\r\n\r\n"));
    hub.part
        .wait_for_log("a request to POST /echo was given up: neither more of its body");
    let faults = |name| Scrape::of(hub.address).count("slotway_faults_total", &[("fault", name)]);
    assert_eq!((faults("both_silent"), faults("timed_out")), (1, 0));
    worker.end();
}

fn a_client_that_came_while_its_worker_was_away_may_pause_as_well(io: &str) {
    let (hub, worker) = start(io, &["--worker-grace", "60", "--body-timeout", "60"]);
    worker.end();
    wait_until("it is away", || !hub.health().contains("\"reader\""));
    let mut client = open(&hub, "/echo", "3\r\nabc\r\n");
    let worker = serve(&hub);
    assert_eq!(client.read_head().unwrap().status, 200);
    assert_eq!(client.read_chunk().unwrap().as_deref(), Some(&b"abc"[..]));
    client.send("0\r\n\r\n");
    assert_eq!(client.read_chunk().unwrap(), None);
    worker.end();
}

fn a_body_that_pauses_waits_in_the_hub_for_a_handler_that_takes_it_whole(io: &str) {
    let (hub, worker) = start(io, &[]);
    let mut whole = open(&hub, "/whole", "3\r\nabc\r\n");
    // It has paused for longer than this one, which a handler has that reads as it comes.
    let mut other = open(&hub, "/count", "");
    wait_until("the other is handed over", || in_use(&hub) > 0);
    assert_eq!(in_use(&hub), 1);
    for client in [&mut whole, &mut other] {
        client.send("2\r\nde\r\n0\r\n\r\n");
    }
    assert_eq!(whole.read_response("POST").unwrap().text(), "abcde");
    assert_eq!(other.read_response("POST").unwrap().text(), "de");
    worker.end();
}

fn where_few_requests_run_at_a_time_none_waits_for_its_client(io: &str) {
    let (hub, worker) = start(io, &[]);
    let mut pausing: Vec<_> = (0..5).map(|_| open(&hub, "/few", "1\r\na\r\n")).collect();
    let mut other = open(&hub, "/count", "");
    wait_until("the other is handed over", || in_use(&hub) > 0);
    assert_eq!(in_use(&hub), 1);
    let response = http::request(hub.address, "POST", "/few", b"at once");
    assert_eq!(response.text(), "at once");
    for client in pausing.iter_mut().chain([&mut other]) {
        client.send("1\r\nb\r\n0\r\n\r\n");
        assert!(client.read_response("POST").unwrap().text().ends_with('b'));
    }
    worker.end();
}

fn a_body_that_fails_after_a_pause_is_refused(io: &str) {
    let (hub, worker) = start(io, &["--body-bytes-max", "1000"]);
    for (rest, status) in [("no chunk\r\n", 400), ("1000\r\n", 413)] {
        let mut client = open(&hub, "/count", "3\r\nabc\r\n");
        wait_until("it is handed over", || in_use(&hub) == 1);
        client.send(rest);
        assert_eq!(client.read_response("POST").unwrap().status, status);
        assert!(client.is_closed());
        wait_until("its slot is free", || in_use(&hub) == 0);
    }
    worker.end();
}

fn a_response_that_ends_before_its_body_ends_the_connection(io: &str) {
    let (hub, worker) = start(io, &[]);
    let length = "POST /enough HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n";
    let begun = [
        head("/enough") + "3\r\nabc\r\n",
        length.to_owned() + &"b".repeat(200_000),
    ];
    for begun in begun {
        let mut client = Connection::open(hub.address);
        client.send(begun);
        let response = client.read_response("POST").unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "enough"));
        // What comes is no request, whatever it looks like.
        let _ = client.try_send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut rest = Vec::new();
        client.read_rest(&mut rest).expect("it is closed");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
    assert_eq!(http::get(hub.address, "/next").text(), "the next");
    worker.end();
}

fn a_client_that_is_never_asked_for_its_body_gets_a_long_response_whole(io: &str) {
    let (hub, worker) = start(io, &["--body-timeout", "1"]);
    for framing in ["Content-Length: 300000", "Transfer-Encoding: chunked"] {
        let mut client = Connection::open(hub.address);
        let head = "POST /deaf HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n";
        client.send(format!("{head}{framing}\r\n\r\n"));
        let response = client.read_response("POST").unwrap();
        assert_eq!(
            (response.status, response.text().as_str()),
            (200, "wellwell")
        );
        // Whether it still sends its body cannot be known.
        assert_eq!(response.field("connection"), Some("close"));
    }
    worker.end();
}
