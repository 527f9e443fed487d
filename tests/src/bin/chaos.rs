//! `just chaos`: workers are killed, stopped, replaced and told to leave, one lies, the
//! hub is upgraded, clients leave, dribble, talk nonsense and upgrade their connections, all at once; then the ledger is closed,
//! and everything must be back where it was. A seed repeats a run's choices.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};
use slotway_tests::fake_worker::FakeWorker;
use slotway_tests::http::Connection;
use slotway_tests::ledger::{Account, Ledger};
use slotway_tests::roles;
use slotway_tests::scrape::Scrape;
use slotway_tests::scribbler::scribble;
use slotway_tests::shouters::keep_shouting;
use slotway_tests::successor::{Successor, await_end};
use slotway_tests::system::{Folder, HubPart, Part, wait_until};

const USAGE: &str = "usage: chaos [SECONDS (60) [SEED]]";

/// Clients that keep a ledger.
const CLIENT_COUNT: u64 = 10;

/// Slots of each worker: fewer than there are clients, so that some wait.
const SLOT_COUNT: usize = 2;

/// Instances that should be there.
const WORKER_COUNT: usize = 3;

const DEADLINE: Duration = Duration::from_secs(2);

/// How long the hub may take to be as it was before.
const CALM: Duration = Duration::from_secs(12);

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().map_or(Ok(60), |text| text.parse());
    let seed = arguments
        .next()
        .map_or(Ok(fastrand::u64(..)), |text| text.parse());
    let (Ok(seconds), Ok(seed)) = (seconds, seed) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // The hubs that take over come to this process when their parents end.
    set_child_subreaper(Some(rustix::process::getpid())).expect("any process may adopt orphans");
    println!("chaos for {seconds} s, seed {seed}");
    let mut is_well = true;
    for io in slotway_tests::ENGINES {
        is_well &= run(io, Duration::from_secs(seconds) / 2, seed);
    }
    if is_well {
        ExitCode::SUCCESS
    } else {
        eprintln!("not well; `chaos {seconds} {seed}` makes the same choices again");
        ExitCode::FAILURE
    }
}

/// Everything of one run.
struct System {
    hub: Arc<HubPart>,
    /// The hub that serves now, if it is not the first any more.
    successor: Option<Successor>,
    /// Held while a hub hands over, and while a liar comes in: it knows no hub but one.
    door: Arc<Mutex<()>>,
    ledger: Arc<Ledger>,
    workers: Vec<Part>,
    faults: Faults,
    _folder: Folder,
}

/// What was done to it.
#[derive(Debug, Default)]
struct Faults {
    killed: u32,
    stopped: u32,
    left: u32,
    replaced: u32,
    upgraded: u32,
}

/// What all hubs of a run counted.
#[derive(Debug)]
struct Counted {
    ended_well: bool,
    sums: BTreeMap<String, u64>,
}

/// What must be the same before and after.
#[derive(Debug, PartialEq, Eq)]
struct Footprint {
    fds: usize,
    maps: usize,
    threads: usize,
}

fn program() -> PathBuf {
    std::env::current_exe().expect("this program is a file")
}

fn run(io: &str, time: Duration, seed: u64) -> bool {
    let mut random = Rng::with_seed(seed);
    let mut system = System::start(io);
    // A hub that took over is what it will be compared with.
    system.upgrade();
    beside_a_liar(&system, random.u64(..));
    // What starting it has opened is closed again a moment later; the runtime keeps a
    // thread that an upgrade has used for 10 s.
    std::thread::sleep(CALM);
    let before = system.footprint();
    let stop = Arc::new(AtomicBool::new(false));
    let mut others = system.start_clients(&stop, &mut random);
    let lies = Arc::new(AtomicU64::new(0));
    others.push(nonsense(&system, &stop, random.u64(..)));
    let shouters = {
        let (address, stop, mut random) = (system.hub.address, Arc::clone(&stop), random.fork());
        std::thread::spawn(move || keep_shouting(address, "/ledger/shout", &stop, &mut random))
    };
    let scribbler = {
        let (stop, lies, seed) = (Arc::clone(&stop), Arc::clone(&lies), random.u64(..));
        let (hub, door) = (Arc::clone(&system.hub), Arc::clone(&system.door));
        std::thread::spawn(move || keep_lying(&hub, &door, &stop, &lies, seed))
    };
    others.push(scribbler);
    let end = Instant::now() + time;
    let mut shown = Instant::now();
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(random.u64(20..300)));
        system.harm(&mut random);
        if shown.elapsed() > Duration::from_secs(5) {
            shown = Instant::now();
            let left = end.saturating_duration_since(shown);
            eprintln!(
                "  {io}: {:?}, {} liars put out, {} s left",
                system.faults,
                lies.load(Ordering::Relaxed),
                left.as_secs()
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    let ended = others
        .into_iter()
        .map(JoinHandle::join)
        .all(|end| end.is_ok());
    let shouted = shouters.join();
    println!("{io}: {shouted:?}");
    system.calm_down();
    let held = Scrape::of(system.hub.address).count("slotway_upgraded_connections", &[]);
    println!("{io}: {held} upgraded connections are held");
    let account = system.ledger.close();
    println!(
        "{io}: {:?}, {} liars put out",
        system.faults,
        lies.load(Ordering::Relaxed)
    );
    println!("{io}: {account}");
    let after = system.await_footprint(&before);
    println!("{io}: before {before:?}, after {after:?}");
    let slots_are_back = system.has_all_slots();
    let counted = system.stop();
    println!("{io}: slots are back: {slots_are_back}; {counted:?}");
    ended
        && shouted.is_ok_and(|shouted| shouted.messages > 0)
        && held == 0
        && is_clean(&account)
        && before == after
        && slots_are_back
        && counted.ended_well
        && counted.sums.get("lost_wakes") == Some(&0)
}

fn is_clean(account: &Account) -> bool {
    account.is_clean() && account.statuses.get(&200).is_some_and(|count| *count > 0)
}

impl System {
    fn start(io: &str) -> Self {
        let folder = Folder::new();
        let flags = [
            "--io",
            io,
            "--timeout",
            "2",
            "--slots",
            &SLOT_COUNT.to_string(),
            "--queue",
            "64",
            "--ping",
            "1",
            "--drain-timeout",
            "5",
            "--head-timeout",
            "1",
            "--body-timeout",
            "1",
        ];
        let hub = HubPart::start(&program(), &flags);
        let ledger = Ledger::new(hub.address, &folder.path().join("ledger.log"), DEADLINE);
        let mut system = Self {
            hub: Arc::new(hub),
            successor: None,
            door: Arc::default(),
            ledger: Arc::new(ledger),
            workers: Vec::new(),
            faults: Faults::default(),
            _folder: folder,
        };
        for _ in 0..WORKER_COUNT {
            let worker = system.start_worker();
            system.workers.push(worker);
        }
        assert!(system.has_all_slots(), "it is well to begin with");
        system
    }

    fn start_worker(&self) -> Part {
        let log = self.ledger.log().to_str().expect("a path of ours");
        self.hub
            .start_worker_with("ledger", "pool", &[log, "instance"])
    }

    fn start_clients(&self, stop: &Arc<AtomicBool>, random: &mut Rng) -> Vec<JoinHandle<()>> {
        (0..CLIENT_COUNT)
            .map(|_| {
                let (ledger, stop) = (Arc::clone(&self.ledger), Arc::clone(stop));
                let mut random = random.fork();
                std::thread::spawn(move || ledger.keep_asking(&stop, &mut random))
            })
            .collect()
    }

    /// One fault.
    fn harm(&mut self, random: &mut Rng) {
        let index = random.usize(..self.workers.len());
        match random.u32(..40) {
            0 => {
                self.upgrade();
                self.faults.upgraded += 1;
            }
            1..11 => {
                self.workers[index].signal(Signal::KILL);
                self.workers[index].wait();
                self.workers[index] = self.start_worker();
                self.faults.killed += 1;
            }
            11..21 => {
                self.workers[index].signal(Signal::STOP);
                // Some longer than the hub puts up with.
                let most = if random.u32(..8) == 0 { 4500 } else { 400 };
                std::thread::sleep(Duration::from_millis(random.u64(1..most)));
                self.workers[index].signal(Signal::CONT);
                self.faults.stopped += 1;
            }
            21..31 => {
                self.workers[index].signal(Signal::TERM);
                self.workers[index].wait();
                self.workers[index] = self.start_worker();
                self.faults.left += 1;
            }
            _ => {
                let next = self.start_worker();
                self.workers[index].signal(Signal::TERM);
                self.workers[index].wait();
                self.workers[index] = next;
                self.faults.replaced += 1;
            }
        }
    }

    /// The hub's program anew, under whatever load there is.
    fn upgrade(&mut self) {
        let _door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.hub_process();
        let new = Successor::take_over(&self.hub, old);
        await_end(old);
        self.successor = Some(new);
    }

    fn hub_process(&self) -> Pid {
        let first = || self.hub.part.pid();
        self.successor.as_ref().map_or_else(first, Successor::pid)
    }

    /// Waits until all workers serve and nothing is under way any more.
    fn calm_down(&self) {
        let start = Instant::now();
        while start.elapsed() < CALM
            && self.hub.health().matches("\"pool\"").count() != WORKER_COUNT
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        // As long as what was given up may still be with a worker.
        std::thread::sleep(DEADLINE);
    }

    fn footprint(&self) -> Footprint {
        let folder = PathBuf::from(format!("/proc/{}", self.hub_process().as_raw_nonzero()));
        let count = |name| std::fs::read_dir(folder.join(name)).map_or(0, Iterator::count);
        let maps = std::fs::read_to_string(folder.join("maps")).unwrap_or_default();
        Footprint {
            fds: count("fd"),
            maps: maps.matches("memfd:slotway-").count(),
            threads: count("task"),
        }
    }

    fn await_footprint(&self, before: &Footprint) -> Footprint {
        let start = Instant::now();
        while start.elapsed() < CALM && self.footprint() != *before {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.footprint()
    }

    /// Whether as many requests as there are slots are with the workers at once: no
    /// slot has gone astray, or some would have to wait for others.
    fn has_all_slots(&self) -> bool {
        let count = SLOT_COUNT * WORKER_COUNT;
        let start = Instant::now();
        let mut all: Vec<_> = (0..count)
            .map(|_| {
                let mut connection = Connection::open(self.hub.address);
                connection.send(
                    "GET /ledger/deaf/1000 HTTP/1.1\r\nHost: h\r\nx-ledger-id: slots\r\n\r\n",
                );
                connection
            })
            .collect();
        let answered = all.iter_mut().all(|connection| {
            connection
                .read_response("GET")
                .is_ok_and(|response| response.status == 200)
        });
        answered && start.elapsed() < Duration::from_millis(1900)
    }

    /// Ends the last hub, and says what all of them counted in their last words.
    fn stop(mut self) -> Counted {
        let last = self.hub_process();
        kill_process(last, Signal::TERM).expect("it is running");
        await_end(last);
        // Its main thread has ended. It can be waited for when the last of them has.
        let status = waitpid(Some(last), WaitOptions::empty()).ok().flatten();
        let ended_well = status.is_some_and(|(_, status)| status.exit_status() == Some(0));
        let hubs = self.faults.upgraded as usize + 2;
        wait_until("all hubs have counted", || {
            self.hub.part.log().matches("faults counted").count() == hubs
        });
        let mut counted = Counted {
            ended_well,
            sums: BTreeMap::new(),
        };
        self.successor = None;
        for line in self.hub.part.log().lines() {
            let Some((_, counts)) = line.split_once("faults counted") else {
                continue;
            };
            for (name, count) in counts.split_whitespace().filter_map(|c| c.split_once('=')) {
                *counted.sums.entry(name.to_owned()).or_default() +=
                    count.parse::<u64>().unwrap_or(0);
            }
        }
        counted
    }
}

/// Clients that dribble, stop in the middle, and say what is no request.
fn nonsense(system: &System, stop: &Arc<AtomicBool>, seed: u64) -> JoinHandle<()> {
    let (address, stop) = (system.hub.address, Arc::clone(stop));
    std::thread::spawn(move || {
        let mut random = Rng::with_seed(seed);
        let mut open = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(random.u64(..20)));
            if open.len() > 50 {
                drop(open.swap_remove(random.usize(..open.len())));
            }
            let Ok(connection) = Connection::try_open(address) else {
                continue;
            };
            let text = b"POST /ledger/0 HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\nxxxx";
            let mut bytes = text[..random.usize(1..text.len())].to_vec();
            if random.bool() {
                let place = random.usize(..bytes.len());
                bytes[place] = random.u8(..);
            }
            // A hub that refuses at once may be done with the connection.
            let _ = connection.stream().write_all(&bytes);
            open.push(connection);
        }
    })
}

/// What a liar costs its neighbours, with nothing else going on.
fn beside_a_liar(system: &System, seed: u64) {
    let time = Duration::from_secs(2);
    let alone = p99(&system.hub, time);
    let stop = Arc::new(AtomicBool::new(false));
    let lies = Arc::new(AtomicU64::new(0));
    let liar = {
        let (hub, door) = (Arc::clone(&system.hub), Arc::clone(&system.door));
        let (stop, lies) = (Arc::clone(&stop), Arc::clone(&lies));
        std::thread::spawn(move || keep_lying(&hub, &door, &stop, &lies, seed))
    };
    let beside = p99(&system.hub, time);
    stop.store(true, Ordering::Relaxed);
    // A panic there has been printed, and is found when the run ends.
    let _ = liar.join();
    println!(
        "p99 of a neighbour: {alone:?} alone, {beside:?} beside {} liars, ratio {:.2}",
        lies.load(Ordering::Relaxed),
        beside.as_secs_f64() / alone.as_secs_f64()
    );
}

/// The p99 of requests one after the other.
fn p99(hub: &HubPart, time: Duration) -> Duration {
    let mut connection = Connection::open(hub.address);
    let start = Instant::now();
    let mut latencies = Vec::new();
    while start.elapsed() < time {
        let sent = Instant::now();
        connection.send("GET /ledger/0 HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = connection.read_response("GET").expect("a response");
        assert_eq!(response.status, 200);
        latencies.push(sent.elapsed());
    }
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}

/// Attaches liars, one after the other, which scribble until they are put out.
fn keep_lying(hub: &HubPart, door: &Mutex<()>, stop: &AtomicBool, lies: &AtomicU64, seed: u64) {
    let mut random = Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let liar = {
            let _door = door.lock().unwrap_or_else(PoisonError::into_inner);
            FakeWorker::attach(hub, "liar", "/liar")
        };
        let mut asking = Connection::open(hub.address);
        asking.send("GET /liar HTTP/1.1\r\nHost: h\r\n\r\n");
        if scribble(&liar, &mut random, 100_000) {
            lies.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(random.u64(..300)));
    }
}
