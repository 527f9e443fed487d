//! `just differential`: the same odd requests to the hub, nginx and `HAProxy`.
//! What the hub accepts and both others refuse is a bug, or is explained here.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use slotway_tests::http_corpus::cases;
use slotway_tests::roles;
use slotway_tests::smuggling::{CANARY, mutations};
use slotway_tests::system::{Folder, HubPart, PATIENCE, Part, address_in};

/// What the hub accepts and both others refuse, and why that is right.
const EXPLAINED: &[(&str, &str)] = &[];

/// How long a response is waited for. Peers that wait for more of a body answer
/// later than this, which counts as no response.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// A server that is compared.
struct Server {
    name: &'static str,
    socket: PathBuf,
}

/// A process that is killed with the value.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> ExitCode {
    if let Some(code) = roles::play() {
        return code;
    }
    for program in ["nginx", "haproxy"] {
        if Command::new(program).arg("-v").output().is_err() {
            eprintln!(
                "differential: {program} is needed; install it (`apt-get install nginx haproxy`)"
            );
            return ExitCode::FAILURE;
        }
    }
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name);
    let program = std::env::current_exe().expect("this program is a file");
    let mut upstream = Part::start(&program, "catch-all", &[]);
    let upstream = address_in(&upstream.first_line())
        .map(|address| (address, upstream))
        .expect("it says where it listens");
    let servers = ["hub", "nginx", "haproxy"].map(|name| Server {
        name,
        socket: file(&format!("{name}.sock")),
    });
    let listen = format!("unix:{}", servers[0].socket.display());
    let hub = HubPart::start_listening(&program, &["--listen", "127.0.0.1:0", "--listen", &listen]);
    let _worker = hub.start_worker("odd", "odd");
    let _nginx = start_nginx(folder.path(), &servers[1].socket, &upstream.0.to_string());
    let _haproxy = start_haproxy(folder.path(), &servers[2].socket, &upstream.0.to_string());
    for server in &servers {
        server.wait();
    }
    compare(&servers)
}

fn start_nginx(folder: &Path, socket: &Path, upstream: &str) -> Killed {
    let config = folder.join("nginx.conf");
    let (folder, socket) = (folder.display(), socket.display());
    let text = format!(
        "daemon off; master_process off; pid {folder}/nginx.pid; error_log /dev/null;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         client_max_body_size 10m;\n\
         server {{ listen unix:{socket}; location / {{ proxy_pass http://{upstream};\n\
         proxy_http_version 1.1; proxy_set_header Host $host; }} }} }}\n"
    );
    std::fs::write(&config, text).expect("the folder is ours");
    start("nginx", &["-c".as_ref(), config.as_os_str()])
}

fn start_haproxy(folder: &Path, socket: &Path, upstream: &str) -> Killed {
    let config = folder.join("haproxy.cfg");
    let socket = socket.display();
    let text = format!(
        "defaults\n mode http\n timeout connect 2s\n timeout client 2s\n timeout server 2s\n\
         frontend f\n bind unix@{socket}\n default_backend b\n\
         backend b\n server s {upstream}\n"
    );
    std::fs::write(&config, text).expect("the folder is ours");
    start(
        "haproxy",
        &["-q".as_ref(), "-f".as_ref(), config.as_os_str()],
    )
}

fn start(program: &str, arguments: &[&std::ffi::OsStr]) -> Killed {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.unwrap_or_else(|error| panic!("{program}: {error}")))
}

impl Server {
    /// Waits until it answers.
    fn wait(&self) {
        let start = Instant::now();
        while self.status(b"GET /odd/describe/a/b HTTP/1.1\r\nHost: h\r\n\r\n") != Some(200) {
            assert!(start.elapsed() < PATIENCE, "{} does not answer", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The status of the first final answer, if any comes.
    fn status(&self, bytes: &[u8]) -> Option<u16> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream
            .set_read_timeout(Some(ANSWER_TIME))
            .expect("not zero");
        // It may have refused, and closed, already.
        let _ = stream.write_all(bytes);
        let closing = CANARY.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(closing.as_bytes());
        let mut answers = Vec::new();
        let mut piece = [0; 4096];
        loop {
            while let Some(status) = first_status(&answers) {
                if status >= 200 {
                    return Some(status);
                }
                let end = answers
                    .windows(4)
                    .position(|window| window == b"\r\n\r\n")?;
                answers.drain(..end + 4);
            }
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return None,
                Ok(bytes) => answers.extend_from_slice(&piece[..bytes]),
            }
        }
    }
}

fn first_status(answers: &[u8]) -> Option<u16> {
    let rest = answers
        .strip_prefix(b"HTTP/1.1 ")
        .or(answers.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

fn compare(servers: &[Server; 3]) -> ExitCode {
    let mut requests: Vec<(String, Vec<u8>)> = cases()
        .into_iter()
        .map(|case| (case.name.to_owned(), case.bytes))
        .collect();
    requests.extend(mutations());
    let (mut stricter, mut differs, mut bugs) = (0, 0, 0);
    println!("{:>5} {:>6} {:>8}  request", "hub", "nginx", "haproxy");
    for (name, bytes) in &requests {
        let statuses = servers.each_ref().map(|server| server.status(bytes));
        let accepts = statuses.map(|status| status.is_some_and(|status| status < 300));
        if accepts == [accepts[0]; 3] {
            continue;
        }
        differs += 1;
        let [hub, nginx, haproxy] =
            statuses.map(|status| status.map_or("–".to_owned(), |status| status.to_string()));
        let note = if accepts[0] && !accepts[1] && !accepts[2] {
            let explained = EXPLAINED.iter().find(|(explained, _)| explained == name);
            bugs += u32::from(explained.is_none());
            explained.map_or("  BUG: only the hub accepts it".to_owned(), |(_, why)| {
                format!("  (right: {why})")
            })
        } else {
            stricter += u32::from(!accepts[0]);
            String::new()
        };
        println!(
            "{hub:>5} {nginx:>6} {haproxy:>8}  {}{note}",
            name.escape_debug()
        );
    }
    println!(
        "\n{} requests, {differs} on which the three differ; the hub refuses {stricter} that one of the others accepts; \
         {bugs} that only it accepts, unexplained",
        requests.len()
    );
    if bugs > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
