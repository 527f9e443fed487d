//! A client that sends exactly the bytes it is given and reads what comes back.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::system::PATIENCE;

/// A response as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Head without the status line, as text.
    pub fields: String,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// Value of a field, by its name in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that a test writes to and reads from.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// A head has been read whose body has not.
    is_in_body: bool,
}

impl Connection {
    /// Connects; every read has a bound.
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("the hub listens")
    }

    /// Like [`Connection::open`], where it may be that nobody listens.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            is_in_body: false,
        })
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the hub reads");
    }

    /// Like [`Connection::send`], where the hub may be gone.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads the head of a response; its body is still to come.
    pub fn read_head(&mut self) -> io::Result<Response> {
        let head_bytes = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill()?;
        };
        self.is_in_body = true;
        let head: Vec<u8> = self.buffer.drain(..head_bytes).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
        Ok(Response {
            status,
            fields: fields.trim_end().to_owned(),
            body: vec![],
        })
    }

    /// Reads one response to a request of `method`.
    pub fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.read_head()?;
        let status = response.status;
        let length = response
            .field("content-length")
            .map_or(0, |n| n.parse().unwrap_or(0));
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            self.is_in_body = false;
            return Ok(response);
        }
        if response.field("transfer-encoding") == Some("chunked") {
            response.body = self.read_chunks()?;
        } else if response.field("content-length").is_none() {
            while self.fill().map_err(|error| error.kind()) != Err(io::ErrorKind::UnexpectedEof) {}
            response.body = std::mem::take(&mut self.buffer);
        } else {
            while self.buffer.len() < length {
                self.fill()?;
            }
            response.body = self.buffer.drain(..length).collect();
        }
        self.is_in_body = false;
        Ok(response)
    }

    /// Reads to the end of the stream, whatever it is.
    pub fn read_rest(&mut self, rest: &mut Vec<u8>) -> io::Result<()> {
        rest.append(&mut self.buffer);
        self.stream.read_to_end(rest).map(drop)
    }

    /// Like [`Connection::read_response`], past interim responses: a client that has
    /// closed its side may be asked by one whether it is still there.
    pub fn read_final_response(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let response = self.read_response(method)?;
            if response.status >= 200 {
                return Ok(response);
            }
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.read_chunk()? {
            body.extend(chunk);
        }
        Ok(body)
    }

    /// Reads one chunk of a body; `None` is its end.
    pub fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line_bytes = loop {
            match find(&self.buffer, b"\r\n") {
                Some(end) => break end + 2,
                None => self.fill()?,
            }
        };
        let line: Vec<u8> = self.buffer.drain(..line_bytes).collect();
        let size = std::str::from_utf8(line.trim_ascii())
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok())
            .ok_or_else(|| io::Error::other(format!("no chunk size: {line:?}")))?;
        while self.buffer.len() < size + 2 {
            self.fill()?;
        }
        let chunk = self.buffer.drain(..size).collect();
        if self.buffer.drain(..2).as_slice() != b"\r\n" {
            return Err(io::Error::other("no CRLF behind a chunk"));
        }
        Ok((size > 0).then_some(chunk))
    }

    /// Whether reading has failed in the middle of a response's body.
    pub fn is_in_body(&self) -> bool {
        self.is_in_body
    }

    /// Whether the hub has closed, with nothing left to read.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty()
            && matches!(self.fill(), Err(error) if error.kind() != io::ErrorKind::WouldBlock)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.buffer.extend_from_slice(&chunk[..bytes]);
                Ok(())
            }
        }
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

/// One request on a connection of its own.
pub fn request(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> Response {
    let mut connection = Connection::open(address);
    let length = body.len();
    connection.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    ));
    connection.send(body);
    connection.read_response(method).expect("a response")
}

/// `GET path` with further field lines, each ended by CRLF.
pub fn get_with(address: SocketAddr, path: &str, fields: &str) -> Response {
    let mut connection = Connection::open(address);
    let host = if fields.contains("Host:") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    connection.send(format!(
        "GET {path} HTTP/1.1\r\n{host}{fields}Connection: close\r\n\r\n"
    ));
    connection.read_response("GET").expect("a response")
}

/// `GET path`.
pub fn get(address: SocketAddr, path: &str) -> Response {
    let mut connection = Connection::open(address);
    connection.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    connection.read_response("GET").expect("a response")
}
