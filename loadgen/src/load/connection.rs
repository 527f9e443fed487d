//! One keep-alive connection: a request out, a whole response in. After the
//! first few exchanges nothing is allocated.

use std::io;

use sha2::{Digest, Sha256};

use crate::fill::Filler;
use crate::limits::{BODY_READ_BYTES, READ_BUFFER_BYTES};
use crate::load::chunked::{ChunkedReader, Step};
use crate::load::errors::ErrorKind;
use crate::load::response::{self, Framing, ResponseHead};
use crate::load::server_timing::Phases;
use crate::load::transport::Transport;
use crate::websocket::{self, FrameError};
use crate::workload::{Expected, Request, Workload};

/// The connection speaks another protocol from here on.
const SWITCHING_PROTOCOLS: u16 = 101;

/// A connection that sends one request at a time.
pub struct Connection {
    transport: Transport,
    /// What was read of the current response and not used yet.
    buffer: Vec<u8>,
    /// A request that was filled, and its body.
    filled: (Vec<u8>, Vec<u8>),
    /// It speaks `WebSocket`.
    is_upgraded: bool,
}

/// A right response.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    /// Whether the connection serves another request.
    pub keep_alive: bool,
    /// From Server-Timing.
    pub phases: Option<Phases>,
    /// What it was.
    pub seen: Seen,
}

/// What a whole response was, right or not.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its status.
    pub status: u16,
    /// Bytes of its head and body.
    pub bytes: u64,
}

/// An exchange without a right response.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Whether the connection serves another request.
    pub keep_alive: bool,
    /// The response, if it was whole.
    pub seen: Option<Seen>,
}

impl Failure {
    pub fn fatal(kind: ErrorKind) -> Self {
        Self {
            kind,
            keep_alive: false,
            seen: None,
        }
    }
}

/// What a body was.
struct Body {
    bytes: u64,
    hash: Option<Sha256>,
}

impl Body {
    fn add(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(piece);
        }
    }
}

impl Connection {
    /// Over what is connected.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            buffer: Vec::with_capacity(READ_BUFFER_BYTES),
            filled: (Vec::new(), Vec::new()),
            is_upgraded: false,
        }
    }

    /// Sends `request`, and reads the head of the response.
    pub async fn begin(
        &mut self,
        request: &Request,
        filler: &Filler,
        workload: &Workload,
    ) -> Result<ResponseHead, Failure> {
        // A server may respond, and close, before it has read the whole body:
        // so a response is looked for even if not all could be sent, and what the
        // failed write would say, the read says too.
        if let Some(pattern) = &request.pattern {
            let (mut bytes, mut scratch) = std::mem::take(&mut self.filled);
            bytes.clear();
            pattern.fill(filler, &workload.values, &mut scratch, &mut bytes);
            let (_, bytes) = self.transport.write_all(bytes).await;
            self.filled = (bytes, scratch);
        } else {
            let _ = self.transport.write_shared(&request.bytes).await;
        }
        self.read_head(request.is_head)
            .await
            .map_err(Failure::fatal)
    }

    /// Reads a body to its end, and hands on each piece as it comes.
    pub async fn read_body(
        &mut self,
        framing: Framing,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let whole = match framing {
            Framing::Length(length) => self.read_length(length, &mut piece).await,
            Framing::Chunked => self.read_chunked(&mut piece).await,
            Framing::UntilClose => self.read_until_close(&mut piece).await,
        };
        whole.map_err(Failure::fatal)
    }

    /// Sends `request`, reads the response to its end, and judges it.
    pub async fn exchange(
        &mut self,
        request: &Request,
        filler: &Filler,
        workload: &Workload,
    ) -> Result<Response, Failure> {
        if workload.is_websocket {
            return self.exchange_message(request, filler, workload).await;
        }
        let expected = &workload.expected;
        let head = self.begin(request, filler, workload).await?;
        let mut body = Body {
            bytes: 0,
            hash: expected.sha256.is_some().then(Sha256::new),
        };
        self.read_body(head.framing, |piece| body.add(piece))
            .await?;
        if !self.buffer.is_empty() {
            return Err(Failure::fatal(ErrorKind::Malformed(
                "bytes behind the response",
            )));
        }
        let seen = Seen {
            status: head.status,
            bytes: head.bytes as u64 + body.bytes,
        };
        match judge(&head, body, expected) {
            None => Ok(Response {
                keep_alive: head.keep_alive,
                phases: head.phases,
                seen,
            }),
            Some(kind) => Err(Failure {
                kind,
                keep_alive: head.keep_alive,
                seen: Some(seen),
            }),
        }
    }

    /// Sends the request's message, once it has upgraded the connection, and reads the same back.
    async fn exchange_message(
        &mut self,
        request: &Request,
        filler: &Filler,
        workload: &Workload,
    ) -> Result<Response, Failure> {
        if !self.is_upgraded {
            let head = self.begin(request, filler, workload).await?;
            if head.status != SWITCHING_PROTOCOLS {
                return Err(Failure::fatal(ErrorKind::Status(head.status)));
            }
            self.is_upgraded = true;
        }
        let sent = self.transport.write_shared(&request.message.frame).await;
        sent.map_err(|_| Failure::fatal(ErrorKind::Reset))?;
        let bytes = self.read_message(&request.message.payload).await;
        Ok(Response {
            keep_alive: true,
            phases: None,
            seen: Seen {
                status: SWITCHING_PROTOCOLS,
                bytes: bytes.map_err(Failure::fatal)?,
            },
        })
    }

    /// Reads a message that must be this. Returns the bytes of its frames.
    async fn read_message(&mut self, expected: &[u8]) -> Result<u64, ErrorKind> {
        let mut left = expected;
        let mut bytes = 0;
        loop {
            let frame = loop {
                match websocket::parse(&self.buffer) {
                    Ok(Some(frame)) => break frame,
                    Ok(None) if self.fill(READ_BUFFER_BYTES).await? > 0 => {}
                    Ok(None) | Err(FrameError::Closed) => return Err(ErrorKind::Closed),
                    Err(FrameError::Malformed(why)) => return Err(ErrorKind::Malformed(why)),
                }
            };
            self.consume(frame.head_bytes);
            bytes += frame.head_bytes as u64 + frame.payload_bytes;
            let mut is_right = true;
            let compare = |piece: &[u8]| {
                if frame.is_data {
                    is_right &= left.starts_with(piece);
                    left = left.get(piece.len()..).unwrap_or_default();
                }
            };
            self.read_length(frame.payload_bytes, &mut { compare })
                .await?;
            if !is_right || (frame.is_data && frame.is_last && !left.is_empty()) {
                return Err(ErrorKind::Echo);
            }
            if frame.is_data && frame.is_last {
                return Ok(bytes);
            }
        }
    }

    /// Reads until a final head is there, and takes it off the buffer.
    async fn read_head(&mut self, to_head_request: bool) -> Result<ResponseHead, ErrorKind> {
        loop {
            if !self.buffer.is_empty() {
                match response::parse(&self.buffer, to_head_request) {
                    Ok(Some(head)) => {
                        self.consume(head.bytes);
                        // Interim responses come before the one (RFC 9110 section 15.2).
                        if head.status < 200 && head.status != SWITCHING_PROTOCOLS {
                            continue;
                        }
                        return Ok(head);
                    }
                    Ok(None) => {}
                    Err(why) => return Err(ErrorKind::Malformed(why)),
                }
            }
            if self.fill(READ_BUFFER_BYTES / 2).await? == 0 {
                return Err(ErrorKind::Closed);
            }
        }
    }

    async fn read_length(
        &mut self,
        length: u64,
        piece: &mut impl FnMut(&[u8]),
    ) -> Result<(), ErrorKind> {
        let mut left = length;
        loop {
            let take = self
                .buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            piece(&self.buffer[..take]);
            self.consume(take);
            left -= take as u64;
            if left == 0 {
                return Ok(());
            }
            let room = BODY_READ_BYTES.min(left.max(READ_BUFFER_BYTES as u64 / 2) as usize);
            if self.fill(room).await? == 0 {
                return Err(ErrorKind::Closed);
            }
        }
    }

    async fn read_chunked(&mut self, piece: &mut impl FnMut(&[u8])) -> Result<(), ErrorKind> {
        let mut reader = ChunkedReader::new();
        loop {
            let mut used = 0;
            while used < self.buffer.len() && !reader.is_done() {
                match reader
                    .step(&self.buffer[used..])
                    .map_err(ErrorKind::Malformed)?
                {
                    Step::Framing(bytes) => used += bytes,
                    Step::Body(bytes) => {
                        piece(&self.buffer[used..used + bytes]);
                        used += bytes;
                    }
                    Step::Done => break,
                }
            }
            self.consume(used);
            if reader.is_done() {
                return Ok(());
            }
            if self.fill(READ_BUFFER_BYTES).await? == 0 {
                return Err(ErrorKind::Closed);
            }
        }
    }

    async fn read_until_close(&mut self, piece: &mut impl FnMut(&[u8])) -> Result<(), ErrorKind> {
        loop {
            piece(&self.buffer);
            self.buffer.clear();
            if self.fill(READ_BUFFER_BYTES).await? == 0 {
                return Ok(());
            }
        }
    }

    fn consume(&mut self, bytes: usize) {
        if bytes == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..bytes);
        }
    }

    async fn fill(&mut self, room: usize) -> Result<usize, ErrorKind> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.reserve(room);
        let (read, buffer) = self.transport.read(buffer).await;
        self.buffer = buffer;
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::Closed,
            _ => ErrorKind::Reset,
        })
    }
}

fn judge(head: &ResponseHead, body: Body, expected: &Expected) -> Option<ErrorKind> {
    let status_is_right = match expected.status {
        Some(status) => head.status == status,
        None => head.status < 400,
    };
    if !status_is_right {
        return Some(ErrorKind::Status(head.status));
    }
    if expected.body_bytes.is_some_and(|bytes| bytes != body.bytes) {
        return Some(ErrorKind::BodyLength);
    }
    let hash: Option<[u8; 32]> = body.hash.map(|hash| hash.finalize().into());
    (hash != expected.sha256).then_some(ErrorKind::BodyHash)
}
