//! `WebSocket` by clients that people use: Python's `websockets`, and a browser.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use slotway_tests::chromium::Chromium;
use slotway_tests::has_program;
use slotway_tests::system::{HubPart, Part};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_demo"))
}

fn hub_with_service(io: &str) -> (HubPart, Part) {
    HubPart::start_with_worker(program(), io, "websocket", &[])
}

slotway_tests::on_each_engine! {
    the_websockets_of_python_go_through
    a_browser_s_websocket_survives_its_hub_and_ends_with_its_worker
}

const SCRIPT: &str = r#"
import asyncio, sys, websockets
async def talk(number):
    async with websockets.connect(sys.argv[1], max_size=None) as socket:
        for message in ["text %d" % number, b"\x00\xff" * 300_000, "", "grüß dich"]:
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
        await socket.send(["in ", "frag", "ments"])
        assert await socket.recv() == "in fragments"
async def main():
    await asyncio.gather(*(talk(number) for number in range(20)))
asyncio.run(main())
print("all came back")
"#;

fn the_websockets_of_python_go_through(io: &str) {
    let has_library = Command::new("python3")
        .args(["-c", "import websockets"])
        .output();
    if !has_library.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "websockets of PyPI is missing"
        );
        println!("skipped: Python's websockets is not installed (.ci/run installs it)");
        return;
    }
    let (hub, _worker) = hub_with_service(io);
    let url = format!("ws://{}/ws", hub.address);
    let output = Command::new("python3")
        .args(["-c", SCRIPT, &url])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"all came back\n", "{errors}");
}

fn a_browser_s_websocket_survives_its_hub_and_ends_with_its_worker(io: &str) {
    if !has_program("chromium") {
        return;
    }
    let (mut hub, mut worker) = hub_with_service(io);
    let mut browser = Chromium::start();
    let open = format!(
        "new Promise((done, fail) => {{
            window.heard = []; window.ended = false;
            window.socket = new WebSocket('ws://{}/ws');
            socket.onmessage = (event) => heard.push(event.data);
            socket.onclose = () => {{ window.ended = true; }};
            socket.onopen = () => done('open');
            socket.onerror = () => fail(new Error('no connection'));
        }})",
        hub.address
    );
    assert_eq!(browser.value(&open), "open");
    browser.value("socket.send('before')");
    browser.wait_for("heard.join() === 'before'");
    hub.part.signal(Signal::KILL);
    hub.part.wait();
    browser.value("socket.send('without a hub')");
    browser.wait_for("heard.join() === 'before,without a hub'");
    assert_eq!(browser.value("ended"), false);
    worker.signal(Signal::KILL);
    worker.wait();
    browser.wait_for("ended");
}
