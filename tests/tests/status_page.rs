//! The status page in a real browser, which is driven over its protocol.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use slotway_tests::chromium::Chromium;
use slotway_tests::fake_worker::FakeWorker;
use slotway_tests::has_program;
use slotway_tests::http::Connection;
use slotway_tests::system::{HubPart, free_port};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

/// Asks again and again until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(hub: &HubPart, path: &'static str) -> Self {
        let (address, stop) = (hub.address, Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut connection = Connection::open(address);
            while !told.load(Ordering::Relaxed) {
                connection.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
                if connection.read_response("GET").is_err() {
                    connection = Connection::open(address);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

fn open(hub: &HubPart) -> Chromium {
    let mut browser = Chromium::start();
    browser.open(&format!("{}/_slotway/", hub.url()));
    browser.wait_for("document.getElementById('connection')?.textContent === 'live'");
    browser
}

/// The text of an element.
fn text(browser: &mut Chromium, selector: &str) -> String {
    let value = browser.value(&format!("document.querySelector('{selector}').textContent"));
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_worker_that_is_killed_under_load_shows_within_a_second() {
    if !has_program("chromium") {
        return;
    }
    let hub = HubPart::start(program(), &[]);
    let mut victim = hub.start_worker("own-metrics", "victim");
    let _other = hub.start_worker("echo", "echo");
    let load = Load::start(&hub, "/api/items/1");
    let mut browser = open(&hub);
    browser.wait_for("document.getElementById('workers-body')?.rows.length === 2");
    let victim_row = "[...document.getElementById('workers-body').rows]\
                      .find((row) => row.cells[0].textContent === 'victim')";
    assert_eq!(
        browser.value(&format!("{victim_row}.cells[2].textContent")),
        "1.2.3"
    );
    browser.wait_for("Number(document.getElementById('n-rate').textContent.replace(',', '')) > 20");
    browser.wait_for("document.getElementById('n-p99').textContent.match(/s$/) !== null");

    victim.signal(Signal::KILL);
    let killed = Instant::now();
    browser.wait_for(&format!("{victim_row} === undefined"));
    let shown = killed.elapsed();
    victim.wait();
    assert!(shown < Duration::from_secs(1), "{shown:?}");
    browser.wait_for("document.getElementById('incidents').textContent.includes('crashed')");
    assert_eq!(text(&mut browser, "#workers-title .count"), "1");
    // The other one's numbers go on.
    let items = "[...document.getElementById('routes-body').rows]\
                 .find((row) => row.cells[1].textContent === '/api/items/{id}')";
    let count = browser.value(&format!("{items}.dataset.count")).to_string();
    browser.wait_for(&format!(
        "JSON.stringify({items}.dataset.count) !== JSON.stringify({count})"
    ));
    drop(load);
}

#[test]
fn a_route_s_own_plots_are_chosen_by_keyboard_and_the_page_has_its_landmarks() {
    if !has_program("chromium") {
        return;
    }
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker("echo", "echo");
    let load = Load::start(&hub, "/api/items/1");
    let mut browser = open(&hub);
    for landmark in ["header", "nav[aria-label]", "main", "footer", "h1"] {
        let count = browser.value(&format!("document.querySelectorAll('{landmark}').length"));
        assert_eq!(count, 1, "{landmark}");
    }
    let unnamed = "[...document.querySelectorAll('section')].filter((section) => \
                   !document.getElementById(section.getAttribute('aria-labelledby'))).length";
    assert_eq!(browser.value(unnamed), 0);
    browser.wait_for(
        "document.getElementById('chart-rate').getAttribute('aria-label').includes('all routes')",
    );
    // The first Tab finds the way past the header.
    browser.press("Tab", 9);
    assert_eq!(
        browser.value("document.activeElement.textContent"),
        "Skip to content"
    );
    for _ in 0..40 {
        browser.press("Tab", 9);
        if browser.value("document.activeElement.textContent") == "/api/items/{id}" {
            break;
        }
    }
    browser.press("Enter", 13);
    browser.wait_for("document.getElementById('shown').textContent === 'GET /api/items/{id}'");
    browser.wait_for("document.getElementById('chart-latency').getAttribute('aria-label').match(/items.*p99 is [0-9]/) !== null");
    assert_eq!(
        browser.value("document.querySelectorAll('tr.shown').length"),
        1
    );
    drop(load);
}

#[test]
fn it_fits_a_phone_and_is_dark_for_those_who_like_it_so() {
    if !has_program("chromium") {
        return;
    }
    let hub = HubPart::start(program(), &[]);
    let _worker = hub.start_worker(
        "echo",
        "a-worker-with-a-rather-long-name-that-would-not-fit",
    );
    let mut browser = open(&hub);
    browser.resize(360, 740);
    browser.wait_for("innerWidth === 360");
    let width = browser.value("document.documentElement.scrollWidth");
    assert!(width.as_u64().unwrap() <= 360, "{width}");
    let background = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(background);
    browser.set_dark(true);
    let dark = browser.value(background);
    let brightness = |colour: &serde_json::Value| -> u32 {
        let text = colour.as_str().unwrap_or_default();
        let numbers = text.split(|c: char| !c.is_ascii_digit());
        numbers
            .filter_map(|number| number.parse::<u32>().ok())
            .sum()
    };
    assert!(
        brightness(&light) > 700 && brightness(&dark) < 100,
        "{light} {dark}"
    );
}

#[test]
fn it_says_that_the_hub_has_gone_and_comes_back_with_the_next() {
    if !has_program("chromium") {
        return;
    }
    let port = free_port().to_string();
    let mut hub = HubPart::start_listening(program(), &["--port", &port]);
    let mut browser = open(&hub);
    hub.part.signal(Signal::KILL);
    hub.part.wait();
    browser.wait_for(
        "document.getElementById('connection').textContent.startsWith('connection lost')",
    );
    let next = HubPart::start_listening(program(), &["--port", &port]);
    browser.wait_for("document.getElementById('connection').textContent === 'live'");
    let _worker = next.start_worker("echo", "newcomer");
    browser.wait_for("document.getElementById('workers').textContent.includes('newcomer')");
}

#[test]
fn queues_faults_and_warnings_are_shown_as_they_come_while_no_worker_does() {
    if !has_program("chromium") {
        return;
    }
    let flags = ["--slots", "2", "--timeout", "1500ms", "--reactors", "1"];
    let hub = HubPart::start(program(), &flags);
    let _worker = hub.start_worker("echo", "echo");
    let mut browser = open(&hub);
    browser.wait_for("document.getElementById('incidents').textContent.includes('None yet')");
    let slow: Vec<_> = (0..6)
        .map(|_| {
            let mut connection = Connection::open(hub.address);
            connection.send("GET /api/sleep/4000 HTTP/1.1\r\nHost: h\r\n\r\n");
            connection
        })
        .collect();
    let waiting = |count: &str| {
        format!(
            "[...document.getElementById('routes-body').rows].find((row) => \
             row.cells[1].textContent.includes('sleep'))\
             ?.querySelector('[data-waiting]').textContent === '{count}'"
        )
    };
    browser.wait_for(&waiting("4"));
    browser.wait_for(&waiting("0"));
    browser.wait_for("document.querySelector('[data-fault=timed_out]').textContent !== '0'");
    browser.wait_for("document.getElementById('incidents').textContent.includes('504')");
    drop(slow);
}

#[test]
fn a_thousand_workers_and_routes_stay_usable() {
    if !has_program("chromium") {
        return;
    }
    let (worker_count, routes_each) = if slotway_tests::fd_limit::raise_hard_fd_limit(65_536) {
        (1000, 1)
    } else {
        println!("with 250 workers of 4 routes: the limit of open files cannot be raised here");
        (250, 4)
    };
    let hub = HubPart::start(program(), &["--slots", "4", "--streams", "1"]);
    let attach = |worker| {
        let routes = worker * routes_each..(worker + 1) * routes_each;
        let paths: Vec<_> = routes.map(|n| format!("/route-{n}")).collect();
        FakeWorker::attach_among_many(&hub, &format!("worker-{worker}"), &paths)
    };
    let workers: Vec<_> = (0..worker_count).map(attach).collect();
    let mut browser = open(&hub);
    for (table, count) in [("routes", 1000), ("workers", worker_count)] {
        let shown = format!("document.querySelector('#{table}-title .count').textContent");
        browser.wait_for(&format!("{shown} === '{count}'"));
    }
    // Typing into the filter leaves one.
    let filtered = "(() => {\
        const input = document.querySelector('[data-filter=routes-body]');\
        const start = performance.now();\
        input.value = 'route-777';\
        input.dispatchEvent(new Event('input', { bubbles: true }));\
        const rows = [...document.getElementById('routes-body').rows];\
        return [rows.filter((row) => !row.hidden).length, performance.now() - start];\
    })()";
    let filtered = browser.value(filtered);
    assert_eq!(filtered[0], 1, "{filtered}");
    // A change of the workers is shown while the filter stays.
    drop(workers);
    browser.wait_for("document.querySelector('#workers-title .count').textContent === '0'");
    let value =
        browser.value("document.querySelector('[data-filter=routes-body]')?.value ?? 'gone'");
    assert!(value == "route-777" || value == "gone", "{value}");
}
