//! A client of event streams that reads them as a browser does.

use std::io;
use std::net::SocketAddr;

use crate::http::{Connection, Response};

/// An open stream.
#[derive(Debug)]
pub struct EventStream {
    connection: Connection,
    /// The response's head.
    pub head: Response,
    text: String,
    /// Comments seen so far.
    pub comments: u32,
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type.
    pub event_type: String,
    /// Its data, lines joined.
    pub data: String,
    /// Its id, if it has one.
    pub id: Option<String>,
}

impl EventStream {
    /// Asks for `path` with further fields, each with its CRLF; reads the response's head.
    pub fn open_with(address: SocketAddr, path: &str, fields: &str) -> Self {
        Self::begin(address, path, fields).finish()
    }

    /// Asks for `path`; reads the response's head.
    pub fn open(address: SocketAddr, path: &str) -> Self {
        Self::open_with(address, path, "")
    }

    /// Asks, and does not wait for the response.
    pub fn begin(address: SocketAddr, path: &str, fields: &str) -> Asked {
        let mut connection = Connection::open(address);
        connection.send(format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n{fields}\r\n"
        ));
        Asked(connection)
    }

    /// Its connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The next event; `None` at the stream's proper end.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                match parse(&block) {
                    Some(event) => return Ok(Some(event)),
                    None => self.comments += 1,
                }
                continue;
            }
            match self.connection.read_chunk()? {
                Some(chunk) => self.text += std::str::from_utf8(&chunk).expect("UTF-8"),
                None => return Ok(None),
            }
        }
    }

    /// The next event, which must come.
    pub fn event(&mut self) -> Event {
        let event = self.next_event().expect("the stream goes on");
        event.expect("the stream has not ended")
    }

    /// Reads on until a comment has come.
    pub fn await_comment(&mut self) {
        let before = self.comments;
        while self.comments == before {
            let chunk = self.connection.read_chunk().expect("the stream goes on");
            self.text += std::str::from_utf8(&chunk.expect("no end")).expect("UTF-8");
            while let Some(comment) = self.text.find(":\n\n") {
                self.text.drain(comment..comment + 3);
                self.comments += 1;
            }
        }
    }
}

/// A stream whose answer has not been read yet.
#[derive(Debug)]
pub struct Asked(Connection);

impl Asked {
    /// Reads the head.
    pub fn finish(mut self) -> EventStream {
        let head = self.0.read_head().expect("a response");
        EventStream {
            connection: self.0,
            head,
            text: String::new(),
            comments: 0,
        }
    }
}

/// `None`: comments alone.
fn parse(block: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut is_event = false;
    let mut data = Vec::new();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut event.event_type),
            "data" => data.push(value),
            "id" => event.id = Some(value.to_owned()),
            _ => {}
        }
        is_event |= !name.is_empty();
    }
    event.data = data.join("\n");
    is_event.then_some(event)
}
