//! A small request allocates nothing, neither in the hub nor in the worker. Both are in this
//! process, which has no other test; the load is in another.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use slotway_hub::config::load::load;
use slotway_hub::lifecycle::Hub;
use slotway_tests::roles::echo;
use slotway_tests::system::{Folder, Part, wait_until};

/// Counts what this process allocates.
struct Counting;

static ALLOCATION_COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is done by the system's allocator; a counter is all that is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATION_COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller promises the same of `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` is from `alloc` above, and so from there.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATION_COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`, and the caller promises the rest.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn send_requests(url: &str, count: u64) {
    let program = Path::new(env!("CARGO_BIN_EXE_demo"));
    let (count, url) = (count.to_string(), format!("{url}/api/items/42"));
    let flags = ["-c", "16", "-n", &count, "--warmup", "0s", &url];
    let mut load = Part::start(program, "loadgen", &flags);
    assert!(load.wait().success(), "{}", load.log());
}

#[test]
fn a_small_request_allocates_nothing_on_either_engine() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    for io in slotway_tests::ENGINES {
        let folder = Folder::new();
        let socket = folder.path().join("attach.sock");
        let socket_text = socket.to_str().unwrap();
        let arguments = ["hub", "--io", io, "--port", "0", "--socket", socket_text];
        let hub = Hub::start(load(&arguments.map(OsString::from)).unwrap()).unwrap();
        let url = hub.urls()[0].clone();
        let worker = echo::worker(&url, "echo").hub_socket(&socket);
        let worker = worker.start().unwrap();
        let is_attached = || slotway_tests::http::get(address(&url), "/api/items/1").status == 200;
        wait_until("it is attached", is_attached);
        // Buffers, queues and tasks have grown to their sizes then.
        send_requests(&url, 5_000);
        let count = 20_000;
        let before = ALLOCATION_COUNT.load(Ordering::Relaxed);
        send_requests(&url, count);
        let allocated = ALLOCATION_COUNT.load(Ordering::Relaxed) - before;
        // 16 connections are opened and closed, and a process is started.
        assert!(
            allocated * 20 < count,
            "{io}: {allocated} allocations in {count} requests"
        );
        println!("{io}: {allocated} allocations in {count} requests");
        worker.stop();
        worker.wait().unwrap();
        runtime.block_on(hub.stop());
    }
}

fn address(url: &str) -> std::net::SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}
