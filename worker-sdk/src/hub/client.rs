//! HTTP to the hub's own paths, over TCP or a Unix socket. Blocks.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::error::RunError;
use crate::limits::ANSWER_BYTES_MAX;

/// Where a hub is, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HubUrl {
    /// `http://host:port`, without a slash at its end.
    Tcp(String),
    /// `unix:/path`
    Unix(PathBuf),
}

impl HubUrl {
    pub fn parse(url: &str) -> Result<Self, RunError> {
        let refuse = |why: &str| {
            Err(RunError::Url {
                url: url.to_owned(),
                why: why.to_owned(),
            })
        };
        if let Some(path) = url.strip_prefix("unix:") {
            // Some write three slashes, as in other URLs.
            let path = PathBuf::from(format!("/{}", path.trim_start_matches('/')));
            return if url.starts_with("unix:/") && path.file_name().is_some() {
                Ok(Self::Unix(path))
            } else {
                refuse("a path from the root is needed: unix:/path")
            };
        }
        let uri: Uri = match url.parse() {
            Ok(uri) => uri,
            Err(error) => return refuse(&format!("{error}")),
        };
        match uri.scheme_str() {
            Some("http") if uri.authority().is_some() => {
                Ok(Self::Tcp(url.trim_end_matches('/').to_owned()))
            }
            Some("https") => refuse("the hub speaks HTTP without TLS"),
            _ => refuse("it starts neither with http:// and a host nor with unix:/"),
        }
    }
}

impl HubUrl {
    /// Where a hub on this host that listens there has its attach socket, unless it was
    /// told otherwise.
    pub fn usual_attach_sockets(&self) -> Vec<PathBuf> {
        let Self::Tcp(url) = self else {
            return Vec::new();
        };
        let uri: Option<Uri> = url.parse().ok();
        let (Some(host), port) = (
            uri.as_ref().and_then(Uri::host),
            uri.as_ref().and_then(Uri::port_u16).unwrap_or(80),
        ) else {
            return Vec::new();
        };
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if host != "localhost" && !address.is_ok_and(|address| address.is_loopback()) {
            return Vec::new();
        }
        let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let folders = runtime_dir.into_iter().chain([PathBuf::from("/run")]);
        folders
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(format!("slotway-{port}.sock")))
            .collect()
    }
}

impl fmt::Display for HubUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HubClient {
    url: HubUrl,
    agent: ureq::Agent,
}

/// Status and body of an answer.
pub(crate) struct Answer {
    pub status: u16,
    pub text: String,
}

impl HubClient {
    /// One whose requests take no longer than this, and which keeps so many connections
    /// for further ones.
    pub fn new(url: HubUrl, timeout: Duration, idle_count_max: usize) -> Self {
        let config = ureq::Agent::config_builder()
            .max_idle_connections(idle_count_max)
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // A proxy from the environment is for the world outside, not for the
            // hub on this host.
            .proxy(None)
            .build();
        let agent = match &url {
            HubUrl::Tcp(_) => config.into(),
            HubUrl::Unix(path) => {
                ureq::Agent::with_parts(config, UnixConnector(path.clone()), NoResolver)
            }
        };
        Self { url, agent }
    }

    /// The URL of one of the hub's paths, as people read it.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Posts a JSON document. The error is the transport's.
    pub fn post(&self, path: &str, document: &[u8]) -> Result<Answer, String> {
        let url = match &self.url {
            HubUrl::Tcp(url) => format!("{url}{path}"),
            HubUrl::Unix(_) => format!("http://localhost{path}"),
        };
        let answer = self
            .agent
            .post(&url)
            .header("content-type", "application/json")
            .send(document);
        let mut answer = answer.map_err(|error| error.to_string())?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok(Answer { status, text })
    }
}

/// The path needs no resolving, but an address there must be.
#[derive(Debug)]
struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Ok(addresses)
    }
}

#[derive(Debug)]
struct UnixConnector(PathBuf);

impl Connector for UnixConnector {
    type Out = UnixTransport;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<UnixTransport>, Error> {
        let config = details.config;
        Ok(Some(UnixTransport {
            stream: connect(&self.0, details.timeout.not_zero().map(|time| *time))?,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
        }))
    }
}

/// Waits no longer than that for a hub whose backlog is full.
fn connect(path: &Path, limit: Option<Duration>) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, limit)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

#[derive(Debug)]
struct UnixTransport {
    stream: UnixStream,
    buffers: LazyBuffers,
}

impl UnixTransport {
    fn late(error: io::Error, timeout: &NextTimeout) -> Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
            _ => error.into(),
        }
    }
}

impl Transport for UnixTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream
            .set_write_timeout(timeout.not_zero().map(|time| *time))?;
        let output = &self.buffers.output()[..amount];
        let sent = self.stream.write_all(output);
        sent.map_err(|error| Self::late(error, &timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream
            .set_read_timeout(timeout.not_zero().map(|time| *time))?;
        let received = loop {
            match self.stream.read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => break received,
            }
        };
        let bytes = received.map_err(|error| Self::late(error, &timeout))?;
        self.buffers.input_appended(bytes);
        Ok(bytes > 0)
    }

    fn is_open(&mut self) -> bool {
        // An idle connection has nothing to read, unless it was closed.
        let mut byte = [0];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(&self.stream, &mut byte[..], flags);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn urls_that_are_none_of_a_hub_are_refused_with_the_reason() {
        for url in ["http://127.0.0.1:3200", "http://localhost:3200/"] {
            let parsed = HubUrl::parse(url).unwrap();
            assert_eq!(parsed.to_string(), url.trim_end_matches('/'));
        }
        for url in ["unix:/run/h.sock", "unix:///run/h.sock"] {
            let parsed = HubUrl::parse(url).unwrap();
            assert_eq!(parsed.to_string(), "unix:/run/h.sock");
        }
        for (url, why) in [
            ("", "empty"),
            ("127.0.0.1:3200", ""),
            ("https://h", "without TLS"),
            ("ftp://h", "http://"),
            ("unix:", "unix:/path"),
            ("unix:/", "unix:/path"),
            ("unix:run/h.sock", "unix:/path"),
        ] {
            let error = HubUrl::parse(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn a_hub_on_this_host_has_its_attach_socket_in_a_usual_place() {
        let run = PathBuf::from("/run/slotway-3200.sock");
        for url in [
            "http://127.0.0.1:3200",
            "http://localhost:3200",
            "http://[::1]:3200",
        ] {
            let usual = HubUrl::parse(url).unwrap().usual_attach_sockets();
            assert_eq!(usual.last(), Some(&run), "{url}");
        }
        for url in [
            "http://192.0.2.1:3200",
            "http://example.org:3200",
            "unix:/run/h.sock",
        ] {
            assert!(
                HubUrl::parse(url)
                    .unwrap()
                    .usual_attach_sockets()
                    .is_empty(),
                "{url}"
            );
        }
    }

    #[test]
    fn a_connection_over_a_unix_socket_is_kept_and_replaced_once_it_is_closed() {
        let folder = std::env::temp_dir().join(format!("slotway-client-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("hub.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            // Two requests on the first connection, one on the second.
            for count in [2, 1] {
                let (mut stream, _) = listener.accept().unwrap();
                for _ in 0..count {
                    let mut bytes = [0; 1000];
                    let mut text = String::new();
                    while !text.ends_with("{}") {
                        let count = stream.read(&mut bytes).unwrap();
                        assert!(count > 0, "{text}");
                        text += std::str::from_utf8(&bytes[..count]).unwrap();
                    }
                    seen.push(text);
                    let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
            seen
        });
        let url = HubUrl::parse(&format!("unix:{}", path.display())).unwrap();
        let client = HubClient::new(url, Duration::from_secs(20), 1);
        for _ in 0..3 {
            let answer = client.post("/internal/x", b"{}").unwrap();
            assert_eq!((answer.status, answer.text.as_str()), (404, "no"));
            // The close of the first must have arrived.
            std::thread::sleep(Duration::from_millis(20));
        }
        let seen = server.join().unwrap();
        assert!(
            seen.iter()
                .all(|text| text.starts_with("POST /internal/x HTTP/1.1\r\n"))
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
