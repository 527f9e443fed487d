//! Whether every request got exactly one response: clients write down what they
//! asked and got, workers what they took and did (`ledger_worker`), and the two
//! are joined by the requests' random ids.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::http::Connection;

/// The field that carries a request's id, and comes back with its response.
pub const ID_FIELD: &str = "x-ledger-id";

/// Characters of an id: 128 bits in hexadecimal.
const ID_CHARS: usize = 32;

/// The field in which a response names its worker, `name#pid`.
pub const WORKER_FIELD: &str = "x-ledger-worker";

/// How much later than its deadline a response may come: the hub sweeps deadlines
/// four times a second, and the machine has its moods.
const LATENESS_MAX: Duration = Duration::from_secs(1);

/// What one request came to, as its client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A well-formed answer with this status, and the worker that it names.
    Answered(u16, Option<String>),
    /// A response that says it is another request's, or whose body is.
    Foreign(String),
    /// Nobody listened, or nobody accepted: a new connection that waits in a listener's
    /// backlog when that is closed is reset by the system. No request was read.
    Unheard(String),
    /// The connection ended, or what came was no response.
    Lost(String),
    /// The head of a response came, and the connection was reset in its body: so a
    /// client learns that the worker of a large response went in the middle of it.
    Cut,
    /// The client left before a response; it is owed none.
    Left,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    seen: Seen,
    took: Duration,
}

/// What clients write down. They share it.
#[derive(Debug)]
pub struct Ledger {
    address: SocketAddr,
    log: PathBuf,
    deadline: Duration,
    entries: Mutex<Vec<Entry>>,
}

/// One request to make.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Below `/ledger/`: a time in milliseconds, or `deaf/`, `block/` or `read/` and one.
    pub path: String,
    /// The body of a POST; a GET has none.
    pub body: Option<Vec<u8>>,
    /// Send the body in two chunks, and stop so long before each.
    pub pause: Option<Duration>,
    /// Leave after so long instead of waiting for the response.
    pub leave_after: Option<Duration>,
}

impl Ask {
    /// A GET that takes its worker so long.
    pub fn get(milliseconds: u64) -> Self {
        Self {
            path: milliseconds.to_string(),
            body: None,
            pause: None,
            leave_after: None,
        }
    }

    /// Something of everything: mostly quick and small, some slow, some large, and a
    /// few whose clients do not wait.
    pub fn any(random: &mut Rng) -> Self {
        let milliseconds = match random.u32(..10) {
            0..7 => 0,
            7..9 => random.u64(..5),
            _ => random.u64(..50),
        };
        let body = (random.u32(..3) == 0).then(|| {
            let bytes = match random.u32(..20) {
                0 => random.usize(..400_000),
                1..5 => random.usize(..20_000),
                _ => random.usize(..200),
            };
            (0..bytes).map(|_| random.u8(..)).collect()
        });
        let leaves = random.u32(..50) == 0;
        let pauses = body.is_some() && random.u32(..8) == 0;
        let below = if pauses { "read/" } else { "" };
        Self {
            path: format!("{below}{milliseconds}"),
            body,
            pause: pauses.then(|| Duration::from_millis(random.u64(40..80))),
            leave_after: leaves.then(|| Duration::from_micros(random.u64(..3000))),
        }
    }
}

impl Ledger {
    /// An empty one, for a hub at `address` that gives workers `deadline`; workers
    /// append to `log`.
    pub fn new(address: SocketAddr, log: &Path, deadline: Duration) -> Self {
        Self {
            address,
            log: log.to_owned(),
            deadline,
            entries: Mutex::default(),
        }
    }

    /// Where workers write.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Makes one request on a connection of its own, and writes down what came of it.
    pub fn ask(&self, ask: &Ask, random: &mut Rng) -> Seen {
        self.ask_on(&mut None, ask, random)
    }

    fn ask_on(&self, connection: &mut Option<Connection>, ask: &Ask, random: &mut Rng) -> Seen {
        let id = format!("{:0ID_CHARS$x}", random.u128(..));
        let start = Instant::now();
        let seen = exchange(self.address, connection, &id, ask);
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Entry {
                id,
                seen: seen.clone(),
                took: start.elapsed(),
            });
        seen
    }

    /// Makes requests of any kind on one connection after the other until `stop`.
    pub fn keep_asking(&self, stop: &AtomicBool, random: &mut Rng) {
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            let ask = Ask::any(random);
            let seen = self.ask_on(&mut connection, &ask, random);
            if matches!(seen, Seen::Lost(_) | Seen::Unheard(_)) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if random.u32(..20) == 0 {
                connection = None;
            }
        }
    }

    /// Joins what clients and workers have written.
    pub fn close(&self) -> Account {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let mut account = Account::default();
        let mut works: HashMap<&str, Work> = HashMap::new();
        for line in log.lines() {
            let mut parts = line.split(' ');
            let (Some(what), Some(id)) = (parts.next(), parts.next()) else {
                continue;
            };
            let work = works.entry(id).or_default();
            match what {
                "take" => work.taken += 1,
                "done" => work.done += 1,
                "cancelled" => account.cancelled += 1,
                other => panic!("a worker wrote {other:?}"),
            }
        }
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter() {
            account.add(entry, works.remove(entry.id.as_str()), self.deadline);
        }
        // Requests of no ledger have other ids, or none.
        let unasked = works.keys().filter(|id| id.len() == ID_CHARS);
        account.unasked = unasked.count() as u64;
        account
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Work {
    taken: u32,
    done: u32,
}

/// Clients that make requests of any kind until they are told to stop, or dropped.
#[derive(Debug)]
pub struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// So many clients on a ledger. Says the seed, which makes the same choices again.
    pub fn start(ledger: &Arc<Ledger>, count: u64) -> Self {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let stop = Arc::new(AtomicBool::new(false));
        let client = |index| {
            let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
            let mut random = Rng::with_seed(seed.wrapping_add(index));
            std::thread::spawn(move || ledger.keep_asking(&stop, &mut random))
        };
        let clients = (0..count).map(client).collect();
        Self { stop, clients }
    }

    /// Lets them finish their requests.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client panicked");
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// How it stands. The first examples of what is wrong are kept.
#[derive(Debug, Default)]
pub struct Account {
    /// Requests that were made.
    pub requests: u64,
    /// Answers by status.
    pub statuses: std::collections::BTreeMap<u16, u64>,
    /// Connections that were refused.
    pub unheard: u64,
    /// Answers reset in their bodies.
    pub cut: u64,
    /// Requests whose clients did not wait.
    pub left: u64,
    /// Handlers that were told so.
    pub cancelled: u64,
    /// No well-formed answer though the client waited.
    pub lost: u64,
    /// Taken by workers more than once.
    pub doubled: u64,
    /// Somebody else's answer, or one to a request that no worker did.
    pub foreign: u64,
    /// Answered long after their deadline.
    pub late: u64,
    /// Taken by workers though no client asked.
    pub unasked: u64,
    examples: Vec<String>,
}

impl Account {
    fn add(&mut self, entry: &Entry, work: Option<Work>, deadline: Duration) {
        let work = work.unwrap_or_default();
        self.requests += 1;
        if work.taken > 1 {
            self.doubled += 1;
            self.note(entry, work);
        }
        if entry.took > deadline + LATENESS_MAX {
            self.late += 1;
            self.note(entry, work);
        }
        match &entry.seen {
            Seen::Answered(status, _) => {
                *self.statuses.entry(*status).or_default() += 1;
                if *status == 200 && (work.taken == 0 || work.done == 0) {
                    self.foreign += 1;
                    self.note(entry, work);
                }
            }
            Seen::Foreign(_) => {
                self.foreign += 1;
                self.note(entry, work);
            }
            Seen::Lost(_) => {
                self.lost += 1;
                self.note(entry, work);
            }
            Seen::Unheard(_) => {
                self.unheard += 1;
                // Whoever took it had read it.
                self.lost += u64::from(work.taken);
            }
            Seen::Cut => self.cut += 1,
            Seen::Left => self.left += 1,
        }
    }

    fn note(&mut self, entry: &Entry, work: Work) {
        if self.examples.len() < 5 {
            self.examples.push(format!("{entry:?}, {work:?}"));
        }
    }

    /// Nothing is lost, doubled, foreign, late or invented.
    pub fn is_clean(&self) -> bool {
        self.unheard + self.lost + self.doubled + self.foreign + self.late + self.unasked == 0
    }

    /// Answers with a status other than 200.
    pub fn refused(&self) -> u64 {
        let refused = self.statuses.iter().filter(|(status, _)| **status != 200);
        refused.map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<_> = self
            .statuses
            .iter()
            .map(|(status, count)| format!("{count} × {status}"))
            .collect();
        write!(
            f,
            "{} requests: {}, {} × cut off; {} clients left, {} handlers told so; \
             {} unheard, {} lost, {} doubled, {} foreign, {} late, {} invented",
            self.requests,
            statuses.join(", "),
            self.cut,
            self.left,
            self.cancelled,
            self.unheard,
            self.lost,
            self.doubled,
            self.foreign,
            self.late,
            self.unasked
        )?;
        for example in &self.examples {
            write!(f, "\n  {example}")?;
        }
        Ok(())
    }
}

/// Sends a body in two chunks.
fn send_with_pauses(
    connection: &mut Connection,
    head: &str,
    body: &[u8],
    pause: Duration,
) -> io::Result<()> {
    connection.try_send(head)?;
    let (first, second) = body.split_at(body.len() / 2);
    for piece in [first, second] {
        std::thread::sleep(pause);
        if !piece.is_empty() {
            let size = format!("{:x}\r\n", piece.len());
            connection.try_send([size.as_bytes(), piece, b"\r\n"].concat())?;
        }
    }
    connection.try_send("0\r\n\r\n")
}

fn exchange(address: SocketAddr, kept: &mut Option<Connection>, id: &str, ask: &Ask) -> Seen {
    let method = if ask.body.is_some() { "POST" } else { "GET" };
    let body = ask.body.as_deref().unwrap_or_default();
    let framing = match ask.pause {
        Some(_) => "Transfer-Encoding: chunked".to_owned(),
        None => format!("Content-Length: {}", body.len()),
    };
    let head = format!(
        "{method} /ledger/{} HTTP/1.1\r\nHost: h\r\n{ID_FIELD}: {id}\r\n{framing}\r\n\r\n",
        ask.path,
    );
    // A connection is used again only for responses that were whole.
    let (mut connection, is_new) = match kept.take() {
        Some(connection) => (connection, false),
        None => match Connection::try_open(address) {
            Ok(connection) => (connection, true),
            Err(error) => return Seen::Unheard(format!("cannot connect: {error}")),
        },
    };
    let sent = match ask.pause {
        Some(pause) => send_with_pauses(&mut connection, &head, body, pause),
        None => connection.try_send([head.as_bytes(), body].concat()),
    };
    // What is answered before all of its body is there may be read all the same.
    if let Err(error) = sent
        && ask.pause.is_none()
    {
        return Seen::Lost(format!("cannot send: {error}"));
    }
    if let Some(time) = ask.leave_after {
        std::thread::sleep(time);
        return Seen::Left;
    }
    let response = match connection.read_response(method) {
        Ok(response) => response,
        Err(error) if error.kind() == ErrorKind::ConnectionReset && connection.is_in_body() => {
            return Seen::Cut;
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset && is_new => {
            return Seen::Unheard(format!("not accepted: {error}"));
        }
        Err(error) => return Seen::Lost(format!("no response: {error}")),
    };
    let closes = response.field("connection") == Some("close");
    if response.status == 200 {
        let echoed = response.field(ID_FIELD);
        if echoed != Some(id) || response.body != body {
            return Seen::Foreign(format!(
                "id {echoed:?}, {} bytes of body for {}",
                response.body.len(),
                body.len()
            ));
        }
    }
    let worker = response.field(WORKER_FIELD).map(str::to_owned);
    if !closes {
        *kept = Some(connection);
    }
    Seen::Answered(response.status, worker)
}
