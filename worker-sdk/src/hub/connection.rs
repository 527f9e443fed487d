//! One connection to a hub, and one request after the other on it. Blocks, for no longer
//! than a deadline.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use super::url::HubUrl;
use crate::limits::{RESPONSE_BYTES_MAX, RESPONSE_FIELD_COUNT_MAX};

/// Status and body of a response.
#[derive(Debug)]
pub(crate) struct HubResponse {
    pub status: u16,
    pub text: String,
}

/// A connection.
#[derive(Debug)]
pub(crate) enum HubConnection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

const TOO_LONG: &str = "it is longer than a hub's own responses are";

/// How much of a response's body follows its head.
enum BodyEnd {
    After(usize),
    AtClose,
}

impl HubConnection {
    /// Connects before the deadline.
    pub fn open(url: &HubUrl, deadline: Instant) -> io::Result<Self> {
        match url {
            HubUrl::Tcp { host, port, .. } => open_tcp(host, *port, deadline).map(Self::Tcp),
            HubUrl::Unix(path) => open_unix(path, left(deadline)?).map(Self::Unix),
        }
    }

    /// Whether it can have another request: an idle connection has nothing to read, unless
    /// it was closed.
    pub fn is_idle(&self) -> bool {
        let mut byte = [0];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let peeked = rustix::net::recv(self, &mut byte[..], flags);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// Sends a request and reads its response. Says whether the connection stays.
    pub fn exchange(
        &mut self,
        request: &[u8],
        deadline: Instant,
    ) -> io::Result<(HubResponse, bool)> {
        self.send(request, deadline)?;
        let mut received = Vec::new();
        let (status, head_bytes, body_end, stays) = loop {
            if self.receive(&mut received, deadline)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = parse_head(&received)? {
                break head;
            }
        };
        match body_end {
            BodyEnd::After(bytes) => {
                while received.len() < head_bytes + bytes {
                    if self.receive(&mut received, deadline)? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                received.truncate(head_bytes + bytes);
            }
            BodyEnd::AtClose => while self.receive(&mut received, deadline)? > 0 {},
        }
        let text = String::from_utf8_lossy(&received[head_bytes..]).into_owned();
        Ok((HubResponse { status, text }, stays))
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        sockopt::set_socket_timeout(&*self, sockopt::Timeout::Send, Some(left(deadline)?))?;
        late(match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        })
    }

    fn receive(&mut self, received: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        if received.len() > RESPONSE_BYTES_MAX {
            return Err(wrong(TOO_LONG));
        }
        sockopt::set_socket_timeout(&*self, sockopt::Timeout::Recv, Some(left(deadline)?))?;
        let mut piece = [0; 4096];
        let bytes = late(loop {
            let read = match self {
                Self::Tcp(stream) => stream.read(&mut piece),
                Self::Unix(stream) => stream.read(&mut piece),
            };
            if !matches!(&read, Err(error) if error.kind() == io::ErrorKind::Interrupted) {
                break read;
            }
        })?;
        received.extend_from_slice(&piece[..bytes]);
        Ok(bytes)
    }
}

impl AsFd for HubConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// The head of a final response, once it is there: status, its length, where the body
/// ends, and whether the connection stays.
fn parse_head(received: &[u8]) -> io::Result<Option<(u16, usize, BodyEnd, bool)>> {
    let mut fields = [httparse::EMPTY_HEADER; RESPONSE_FIELD_COUNT_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let head_bytes = match response.parse(received) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(wrong(&error.to_string())),
    };
    let status = response.code.unwrap_or_default();
    let value_of = |name: &str| {
        let mut fields = response.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok().map(str::trim)
    };
    if value_of("transfer-encoding").is_some() {
        return Err(wrong("it is chunked, which a hub's own responses are not"));
    }
    let closes = value_of("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let end = match value_of("content-length").map(str::parse) {
        Some(Ok(bytes)) if bytes <= RESPONSE_BYTES_MAX => BodyEnd::After(bytes),
        Some(Ok(_)) => return Err(wrong(TOO_LONG)),
        Some(Err(_)) => return Err(wrong("its Content-Length is not a number")),
        None if matches!(status, 204 | 304) => BodyEnd::After(0),
        None => BodyEnd::AtClose,
    };
    let stays = !closes && response.version == Some(1) && matches!(end, BodyEnd::After(_));
    Ok(Some((status, head_bytes, end, stays)))
}

fn open_tcp(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in resolve(host, port, deadline)? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    late(Err(last))
}

/// Resolves a name on a thread of its own: the system's resolver knows no deadline.
fn resolve(host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, resolved) = std::sync::mpsc::channel();
    let host = host.to_owned();
    std::thread::Builder::new()
        .name("slotway-resolve".to_owned())
        .spawn(move || {
            let addresses = (host.as_str(), port).to_socket_addrs();
            // Nobody waits any more if that took too long.
            let _ = sender.send(addresses.map(Iterator::collect));
        })?;
    let resolved = resolved.recv_timeout(left(deadline)?);
    resolved.map_err(|_| timed_out())?
}

/// Waits no longer than that for a hub whose backlog is full.
fn open_unix(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(limit))?;
    late(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?).map_err(Into::into))?;
    Ok(socket.into())
}

/// The time until a deadline; an error once it has passed.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(timed_out());
    }
    // Less than a microsecond would mean for ever.
    Ok(left.max(Duration::from_millis(1)))
}

/// A socket's timeout says that it would block.
fn late<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => timed_out(),
        _ => error,
    })
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the hub did not respond in time")
}

fn wrong(why: &str) -> io::Error {
    let why = format!("the hub's response is not valid: {why}");
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What a server's bytes become.
    fn exchange(bytes: &'static [u8]) -> io::Result<(u16, String, bool)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 100]);
            // Byte by byte, and then the end.
            for byte in bytes {
                let _ = stream.write_all(&[*byte]);
            }
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut connection = HubConnection::open(&HubUrl::parse(&url).unwrap(), deadline).unwrap();
        let result = connection.exchange(b"GET / HTTP/1.1\r\n\r\n", deadline);
        server.join().unwrap();
        result.map(|(response, stays)| (response.status, response.text, stays))
    }

    #[test]
    fn responses_end_with_their_length_or_with_the_connection() {
        let known = exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!(known, (200, "{}".to_owned(), true));
        let closes = b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(exchange(closes).unwrap(), (503, "x".to_owned(), false));
        let open = exchange(b"HTTP/1.1 200 OK\r\n\r\nto the end").unwrap();
        assert_eq!(open, (200, "to the end".to_owned(), false));
    }

    #[test]
    fn what_is_no_response_is_an_error_that_says_so() {
        for (bytes, why) in [
            (
                &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"[..],
                "",
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
                "longer",
            ),
            (b"SSH-2.0-x\r\n\r\n", "not valid"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "a number"),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "chunked",
            ),
        ] {
            let error = exchange(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_hub_that_says_nothing_is_waited_for_until_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = HubUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let deadline = Instant::now() + Duration::from_millis(50);
        let mut connection = HubConnection::open(&url, deadline).unwrap();
        let error = connection
            .exchange(b"GET / HTTP/1.1\r\n\r\n", deadline)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline);
    }
}
