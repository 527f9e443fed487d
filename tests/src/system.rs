//! Starting and ending the processes of a system. Every process dies with the
//! value that stands for it.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open};

use crate::http;

/// How long a part may take to be ready, or to end, before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running part.
#[derive(Debug)]
pub struct Part {
    child: Child,
    /// What it has written to stderr so far.
    log: Arc<Mutex<String>>,
}

impl Part {
    /// Starts `program role NAME ARGUMENTS`; its log goes to this value.
    pub fn start(program: &Path, role: &str, arguments: &[&str]) -> Self {
        Self::start_with(program, role, arguments, ("HUB_SECRET", ""))
    }

    /// Like [`Part::start`], with a variable in its environment.
    pub fn start_with(
        program: &Path,
        role: &str,
        arguments: &[&str],
        variable: (&str, &str),
    ) -> Self {
        Self::start_in(program, role, arguments, &[variable])
    }

    /// Like [`Part::start`], with variables in its environment.
    pub fn start_in(
        program: &Path,
        role: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new(program);
        command
            .envs(variables.iter().copied())
            .arg("role")
            .arg(role)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for the program that started it.
            .process_group(0);
        let mut child = command.spawn().expect("this program can be started again");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("it is piped");
        let sink = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stderr);
            let mut line = Vec::new();
            while lines
                .read_until(b'\n', &mut line)
                .is_ok_and(|bytes| bytes > 0)
            {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Self { child, log }
    }

    /// The first line of its standard output, read to its end.
    pub fn first_line(&mut self) -> String {
        let mut stdout = self
            .child
            .stdout
            .take()
            .expect("the first line is read once");
        let mut line = Vec::new();
        let mut byte = [0];
        while stdout.read(&mut byte).is_ok_and(|bytes| bytes == 1) && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until its log has `text`.
    pub fn wait_for_log(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(
                start.elapsed() < PATIENCE,
                "no {text:?} in the log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Descriptors it has open.
    pub fn open_fd_count(&self) -> usize {
        self.open_fds().len()
    }

    /// What its descriptors are.
    fn open_fds(&self) -> Vec<String> {
        let folder = format!("/proc/{}/fd", self.child.id());
        let fds = std::fs::read_dir(folder).expect("it is running");
        fds.filter_map(|fd| Some(fs_link(&fd.ok()?.path())))
            .collect()
    }

    /// Descriptors in this process of all its sockets (`pidfd_getfd(2)`).
    pub fn duplicate_sockets(&self) -> Vec<OwnedFd> {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).expect("it is our child");
        let folder = format!("/proc/{}/fd", self.child.id());
        let fds = std::fs::read_dir(folder).expect("it is running");
        let sockets = fds.filter_map(|fd| {
            let path = fd.ok()?.path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            let is_socket = fs_link(&path).contains("socket:");
            is_socket.then(|| pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).ok())?
        });
        sockets.collect()
    }

    /// Waits until no more than `most` descriptors are open.
    pub fn await_fds(&self, most: usize) {
        let start = Instant::now();
        loop {
            let fds = self.open_fds();
            if fds.len() <= most {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} descriptors stay open where {most} were expected: {fds:#?}",
                fds.len()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it is our child");
    }

    /// Stops it, as a debugger would, and waits until no thread of it runs any
    /// more: the signal alone says nothing of when that is.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
        let start = Instant::now();
        while !self.is_suspended() {
            assert!(start.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn is_suspended(&self) -> bool {
        let folder = format!("/proc/{}/task", self.child.id());
        let threads = std::fs::read_dir(folder).expect("it is running");
        threads.flatten().all(|thread| {
            // The state is the first field behind the name (proc_pid_stat(5)).
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('T'))
        })
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it does not end; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// User and system time it has used, all threads.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .expect("it is running");
        // Fields 14 and 15 of proc_pid_stat(5), counted behind the name.
        let behind_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = behind_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap_or(0))
            .sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Fails only if it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of a part:\n{}", self.log());
        }
    }
}

/// A folder of this test's own; gone with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one.
    pub fn new() -> Self {
        let mut random = [0_u8; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .expect("getrandom(2) never fails once the system has started");
        let name = format!("slotway-{:016x}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("the temporary folder is writable");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Makes a shell script that can be started. Another process writes it: a child that is
/// forked meanwhile has this one's descriptors for a moment, and a file that is open for
/// writing cannot be started.
pub fn write_script(path: &Path, text: &str) {
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut stdin = shell.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, text.as_bytes()).expect("the shell reads");
    drop(stdin);
    assert!(shell.wait().is_ok_and(|status| status.success()));
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tells threads that it is over, also if a panic ends it.
#[derive(Debug)]
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A hub on a free port with an attach socket in a private folder.
#[derive(Debug)]
pub struct HubPart {
    /// Its process.
    pub part: Part,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its attach socket.
    pub socket: PathBuf,
    program: PathBuf,
    other_address: Option<SocketAddr>,
    _folder: Folder,
}

impl HubPart {
    /// Starts a hub with further flags, and waits until it listens.
    pub fn start(program: &Path, flags: &[&str]) -> Self {
        Self::start_role(program, "hub", flags)
    }

    /// Starts a hub with these flags on an engine, and a worker of a role.
    pub fn start_with_worker(program: &Path, io: &str, role: &str, flags: &[&str]) -> (Self, Part) {
        let hub = Self::start(program, &[&["--io", io], flags].concat());
        let worker = hub.start_worker(role, role);
        (hub, worker)
    }

    /// Starts one that listens where its flags say; its first URL is TCP.
    pub fn start_listening(program: &Path, flags: &[&str]) -> Self {
        Self::start_with(program, "hub", &[], flags, "")
    }

    /// Starts one in another role.
    pub fn start_role(program: &Path, role: &str, flags: &[&str]) -> Self {
        Self::start_with(program, role, &["--port", "0"], flags, "")
    }

    /// Starts one with a `HUB_SECRET`, that listens where its flags say.
    pub fn start_with_secret(program: &Path, flags: &[&str], secret: &str) -> Self {
        Self::start_with(program, "hub", &[], flags, secret)
    }

    /// Starts one with a variable in its environment.
    pub fn start_with_variable(program: &Path, flags: &[&str], variable: (&str, &str)) -> Self {
        Self::start_in(program, "hub", &["--port", "0"], flags, variable)
    }

    fn start_with(
        program: &Path,
        role: &str,
        listen: &[&str],
        flags: &[&str],
        secret: &str,
    ) -> Self {
        Self::start_in(program, role, listen, flags, ("HUB_SECRET", secret))
    }

    fn start_in(
        program: &Path,
        role: &str,
        listen: &[&str],
        flags: &[&str],
        variable: (&str, &str),
    ) -> Self {
        let folder = Folder::new();
        let socket = folder.path().join("attach.sock");
        let socket_text = socket.to_str().expect("a path of ours is text").to_owned();
        let mut arguments = vec!["--socket", &socket_text];
        arguments.extend_from_slice(listen);
        arguments.extend_from_slice(flags);
        let mut part = Part::start_with(program, role, &arguments, variable);
        let line = part.first_line();
        let other_address = line
            .split_once("http://")
            .and_then(|(_, rest)| address_in(rest));
        let address = address_in(&line)
            .unwrap_or_else(|| panic!("no address in {line:?}; log:\n{}", part.log()));
        Self {
            part,
            address,
            other_address,
            socket,
            program: program.to_owned(),
            _folder: folder,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where else it listens.
    pub fn other_address(&self) -> SocketAddr {
        self.other_address.expect("it listens on two addresses")
    }

    /// Starts a worker and waits until its routes are live.
    pub fn start_worker(&self, role: &str, name: &str) -> Part {
        self.start_worker_with(role, name, &[])
    }

    /// Starts a worker with further arguments, and waits until its routes are live.
    pub fn start_worker_with(&self, role: &str, name: &str, rest: &[&str]) -> Part {
        let socket = self.socket.to_str().expect("a path of ours is text");
        self.start_worker_knowing(&self.url(), Some(socket), role, name, rest)
    }

    /// Starts a worker that knows of the hub only its URL and registers there over HTTP,
    /// and waits until its routes are live.
    pub fn start_worker_over_http(&self, url: &str, role: &str, name: &str, rest: &[&str]) -> Part {
        self.start_worker_knowing(url, None, role, name, rest)
    }

    /// Starts a worker, and does not wait for anything.
    pub fn begin_worker(&self, role: &str, name: &str, rest: &[&str]) -> Part {
        let url = self.url();
        let socket = self.socket.to_str().expect("a path of ours is text");
        let arguments = [&[url.as_str(), name], rest].concat();
        let variables = [("HUB_URL", &*url), ("HUB_SOCKET", socket)];
        Part::start_in(&self.program, role, &arguments, &variables)
    }

    fn start_worker_knowing(
        &self,
        url: &str,
        socket: Option<&str>,
        role: &str,
        name: &str,
        rest: &[&str],
    ) -> Part {
        let before = self.part.log().matches("attached worker").count();
        let arguments = [&[url, name], rest].concat();
        let variables = [("HUB_URL", url), ("HUB_SOCKET", socket.unwrap_or_default())];
        let part = Part::start_in(&self.program, role, &arguments, &variables);
        let start = Instant::now();
        while self.part.log().matches("attached worker").count() == before {
            assert!(
                start.elapsed() < PATIENCE,
                "{name} does not attach:\n{}",
                part.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        part
    }

    /// `GET /health`, as text.
    pub fn health(&self) -> String {
        let response = http::get(self.address, "/health");
        String::from_utf8_lossy(&response.body).into_owned()
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn fs_link(path: &Path) -> String {
    let target = std::fs::read_link(path).map(|target| target.display().to_string());
    format!("{}: {}", path.display(), target.unwrap_or_default())
}

/// A port that nobody listens on, of those that the system does not hand out by itself: so it is
/// still free for the next hub when one was killed. No two tests of a process get the same.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() + 50 * GIVEN.fetch_add(1, Ordering::Relaxed);
    let ports = (0..22_000).map(|offset| 10_000 + ((first + offset) % 22_000) as u16);
    let mut free = ports.filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("some port is free")
}

/// The address in a start line: `… listens on http://127.0.0.1:3200, …`.
pub fn address_in(line: &str) -> Option<SocketAddr> {
    line.split_once("http://")?
        .1
        .split(',')
        .next()?
        .parse()
        .ok()
}

/// An address of this machine's that is none of loopback: what is sent there still
/// goes over the loopback device. `None` where there is no such address.
pub fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: it asks the system for a route.
    socket.connect("192.0.2.1:9").ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) if !address.ip().is_loopback() => Some(*address.ip()),
        _ => None,
    }
}
