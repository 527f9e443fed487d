//! What is compared: the hub, and what people use in its place. Each serves the same two
//! routes on one thread for each of its processes: `GET /api/items/42` is answered with seven
//! bytes, `POST /api/echo` with its body.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::http;
use crate::system::{Folder, HubPart, PATIENCE, Part, address_in, free_port};

/// Where the configurations of other systems are.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// The version of the hub that this one began as.
const SLOTBUS_VERSION: &str = "0.2.1";

/// One that serves.
pub struct System {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it answers bodies.
    pub echoes: bool,
    servers: Vec<Server>,
    _folder: Option<Folder>,
}

/// One that cannot be compared here.
pub struct Missing {
    /// Its name.
    pub name: &'static str,
    /// Why, and what to do.
    pub why: String,
}

enum Server {
    Hub(HubPart),
    Part(Part),
    Other(Other),
}

/// A program that is not ours; ended with the value.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Started = Result<System, Missing>;
type Start = fn(&Path) -> Started;

/// Every system, in the order of showing: its name, what it is, and how it is started.
const ALL: [(&str, Start); 9] = [
    ("floor", |program| Ok(floor(program))),
    ("axum", |program| Ok(axum(program))),
    ("slotway", |program| {
        let what = "io_uring driven by the hub, the default";
        Ok(slotway(program, ("slotway", what), "uring-direct", "echo"))
    }),
    ("slotway-tokio-uring", |program| {
        let what = "the same on tokio-uring";
        Ok(slotway(
            program,
            ("slotway-tokio-uring", what),
            "uring",
            "echo",
        ))
    }),
    ("slotway-epoll", |program| {
        let what = "the same on epoll";
        Ok(slotway(program, ("slotway-epoll", what), "epoll", "echo"))
    }),
    ("slotway-spin", |program| {
        let what = "the worker looks for requests for 50 µs before it sleeps";
        Ok(slotway(
            program,
            ("slotway-spin", what),
            "uring-direct",
            "echo-spin",
        ))
    }),
    ("nginx", nginx),
    ("haproxy", haproxy),
    ("slotbus", slotbus),
];

/// The names of all systems.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// Starts those of these names, and says which cannot be.
pub fn start(program: &Path, names: &[String]) -> (Vec<System>, Vec<Missing>) {
    let (mut systems, mut missing) = (Vec::new(), Vec::new());
    for (name, start) in ALL {
        if !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        eprintln!("starting {name}");
        match start(program).and_then(System::checked) {
            Ok(system) => systems.push(system),
            Err(why) => missing.push(why),
        }
    }
    (systems, missing)
}

impl System {
    /// Its processes.
    pub fn pids(&self) -> Vec<Pid> {
        let pid = |server: &Server| match server {
            Server::Hub(hub) => hub.part.pid(),
            Server::Part(part) => part.pid(),
            Server::Other(other) => Pid::from_child(&other.0),
        };
        self.servers.iter().map(pid).collect()
    }

    /// It answers, and rightly.
    fn checked(self) -> Started {
        let start = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            if start.elapsed() > PATIENCE {
                let why = format!("it does not listen on {}", self.address);
                return Err(Missing {
                    name: self.name,
                    why,
                });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let wrong = |what: &str, answer: &http::Response| {
            let (status, body) = (answer.status, answer.text());
            let why = format!("{what} was answered with {status} {body:.80}");
            Missing {
                name: self.name,
                why,
            }
        };
        let answer = http::get(self.address, "/api/items/42");
        if answer.status != 200 || answer.text() != "item 42" {
            return Err(wrong("GET /api/items/42", &answer));
        }
        let body: Vec<u8> = (0..1 << 20)
            .map(|n: u32| (n.wrapping_mul(31) >> 3) as u8)
            .collect();
        if self.echoes {
            let answer = http::request(self.address, "POST", "/api/echo", &body);
            if answer.status != 200 || answer.body != body {
                return Err(wrong("POST /api/echo of 1 MiB", &answer));
            }
        }
        Ok(self)
    }
}

fn floor(program: &Path) -> System {
    let mut part = Part::start(program, "responder", &[]);
    System {
        name: "floor",
        what: "a bare epoll loop with a fixed answer: what the kernel's TCP costs",
        address: address_in(&part.first_line()).expect("it says where it listens"),
        echoes: false,
        servers: vec![Server::Part(part)],
        _folder: None,
    }
}

fn axum(program: &Path) -> System {
    let mut part = Part::start(program, "axum", &[]);
    System {
        name: "axum",
        what: "the service itself, without a router",
        address: address_in(&part.first_line()).expect("it says where it listens"),
        echoes: true,
        servers: vec![Server::Part(part)],
        _folder: None,
    }
}

fn slotway(
    program: &Path,
    (name, what): (&'static str, &'static str),
    io: &str,
    role: &str,
) -> System {
    let hub = HubPart::start(program, &["--io", io]);
    let worker = hub.start_worker(role, "echo");
    System {
        name,
        what,
        address: hub.address,
        echoes: true,
        servers: vec![Server::Part(worker), Server::Hub(hub)],
        _folder: None,
    }
}

/// axum on a Unix socket in a folder, for those that proxy to it.
fn axum_behind(program: &Path, folder: &Folder) -> (Part, String) {
    let socket = folder.path().join("axum.sock");
    let socket = socket.to_str().expect("a path of ours is text").to_owned();
    let mut part = Part::start(program, "axum", &[&socket]);
    part.first_line();
    (part, socket)
}

/// Writes a peer's configuration out for a folder, a port, and axum's socket.
fn configure(file: &str, folder: &Folder, port: u16, upstream: &str) -> PathBuf {
    let template = std::fs::read_to_string(format!("{PEERS}/{file}"));
    let text = template.expect("the sources are here");
    let text = text.replace("FOLDER", &folder.path().display().to_string());
    let text = text
        .replace("UPSTREAM", upstream)
        .replace("PORT", &port.to_string());
    let config = folder.path().join(file);
    std::fs::write(&config, text).expect("the folder is ours");
    config
}

/// A proxy from a package of the system, in front of axum.
fn proxy(
    program: &Path,
    (name, what, package): (&'static str, &'static str, &str),
    command: impl FnOnce(&Folder, u16, &str) -> Command,
) -> Started {
    let folder = Folder::new();
    let (upstream, socket) = axum_behind(program, &folder);
    let port = free_port();
    let mut command = command(&folder, port, &socket);
    let path = std::env::var("PATH").unwrap_or_default();
    let child = command
        .env("PATH", format!("{path}:/usr/sbin"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = child.map_err(|error| Missing {
        name,
        why: format!("{error}: install {package}"),
    })?;
    Ok(System {
        name,
        what,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        echoes: true,
        servers: vec![Server::Other(Other(child)), Server::Part(upstream)],
        _folder: Some(folder),
    })
}

fn nginx(program: &Path) -> Started {
    let about = (
        "nginx",
        "nginx, one process, before axum on a Unix socket",
        "nginx-light",
    );
    proxy(program, about, |folder, port, socket| {
        let config = configure("nginx.conf", folder, port, socket);
        let mut command = Command::new("nginx");
        command.arg("-e").arg("/dev/null").arg("-c").arg(config);
        command
    })
}

fn haproxy(program: &Path) -> Started {
    let about = (
        "haproxy",
        "HAProxy, one thread, before axum on a Unix socket",
        "haproxy",
    );
    proxy(program, about, |folder, port, socket| {
        let config = configure("haproxy.cfg", folder, port, socket);
        let mut command = Command::new("haproxy");
        command.args(["-db", "-q", "-f"]).arg(config);
        command
    })
}

/// Builds the hub and a worker of the seed once, by cargo.
fn build_slotbus() -> Result<(PathBuf, PathBuf), String> {
    let target = PathBuf::from(PEERS).join("../../target/peers");
    let (hub, worker) = (
        target.join("bin/slotbus-hub"),
        target.join("build/release/slotbus-worker"),
    );
    let cargo = |arguments: &[&str], folder: &str, to: PathBuf| {
        let mut command = Command::new("cargo");
        command
            .args(arguments)
            .arg(folder)
            .arg(to)
            .stdin(Stdio::null());
        match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(text.lines().last().unwrap_or("cargo failed").to_owned())
            }
            Err(error) => Err(format!("cargo: {error}")),
        }
    };
    if !hub.exists() {
        eprintln!("building slotbus-hub {SLOTBUS_VERSION} (once, some minutes)");
        let version = format!("slotbus-hub@{SLOTBUS_VERSION}");
        cargo(
            &["install", "--quiet", "--locked", &version],
            "--root",
            target.clone(),
        )?;
    }
    if !worker.exists() {
        eprintln!("building its worker (once, some minutes)");
        let manifest = format!("{PEERS}/slotbus/Cargo.toml");
        let arguments = [
            "build",
            "--quiet",
            "--release",
            "--manifest-path",
            &manifest,
        ];
        cargo(&arguments, "--target-dir", target.join("build"))?;
    }
    Ok((hub, worker))
}

fn slotbus(_: &Path) -> Started {
    let missing = |why: String| Missing {
        name: "slotbus",
        why,
    };
    let (hub, worker) = build_slotbus().map_err(missing)?;
    let port = free_port();
    let run = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(|child| Server::Other(Other(child)))
    };
    let hub =
        run(&hub, &["--port", &port.to_string()]).map_err(|error| missing(error.to_string()))?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let start = Instant::now();
    while std::net::TcpStream::connect(address).is_err() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let worker = run(&worker, &[&format!("http://{address}")]);
    let worker = worker.map_err(|error| missing(error.to_string()))?;
    while http::get(address, "/api/items/42").status != 200 && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(System {
        name: "slotbus",
        what: "slotbus-hub 0.2.1 and a worker by its SDK",
        address,
        echoes: true,
        servers: vec![hub, worker],
        _folder: None,
    })
}
