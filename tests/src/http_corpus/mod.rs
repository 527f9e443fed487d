//! Requests on which readers could disagree, and what must become of each: the
//! cases 1 to 68 of RFC 9110 and 9112 that are bytes on a connection. Behaviour
//! over time (dribbling, half-closing, pipelining) has tests of its own.

mod bodies;
mod field_lines;
mod persistence;
mod request_line;

/// What must become of a case's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Answered with one of these, and the connection serves what follows.
    Served(&'static [u16]),
    /// Answered with one of these, then closed; nothing that follows is read as
    /// a request.
    Last(&'static [u16]),
    /// Answered with one of these; whether the connection goes on is left open.
    Answered(&'static [u16]),
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its number and what it is about, as the name of its test.
    pub name: &'static str,
    /// What the client sends.
    pub bytes: Vec<u8>,
    /// What must become of it.
    pub expect: Expect,
}

use Expect::{Last, Served};

/// A route of the worker that tests of the front end ask.
pub const PATH: &str = "/odd/describe/a/b";

const OK: Expect = Served(&[200]);
const BAD: Expect = Last(&[400]);

fn case(name: &'static str, bytes: impl AsRef<[u8]>, expect: Expect) -> Case {
    Case {
        name,
        bytes: bytes.as_ref().to_vec(),
        expect,
    }
}

/// A request line, and an ordinary rest.
fn line(name: &'static str, line: impl AsRef<[u8]>, expect: Expect) -> Case {
    case(
        name,
        [line.as_ref(), b"\r\nHost: h\r\n\r\n"].concat(),
        expect,
    )
}

/// Fields of a GET beside Host.
fn fields(name: &'static str, fields: impl AsRef<[u8]>, expect: Expect) -> Case {
    let start = format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n");
    case(
        name,
        [start.as_bytes(), fields.as_ref(), b"\r\n\r\n"].concat(),
        expect,
    )
}

/// All fields of a GET.
fn all_fields(name: &'static str, version: &str, fields: &str, expect: Expect) -> Case {
    case(
        name,
        format!("GET {PATH} HTTP/{version}\r\n{fields}\r\n"),
        expect,
    )
}

/// A POST with these fields and this body.
fn post(
    name: &'static str,
    fields: impl AsRef<[u8]>,
    body: impl AsRef<[u8]>,
    expect: Expect,
) -> Case {
    let start = format!("POST {PATH} HTTP/1.1\r\nHost: h\r\n");
    let bytes = [
        start.as_bytes(),
        fields.as_ref(),
        b"\r\n\r\n",
        body.as_ref(),
    ]
    .concat();
    case(name, bytes, expect)
}

/// Another method with a body of five bytes.
fn with_body(name: &'static str, method: &str, statuses: &'static [u16]) -> Case {
    let head = format!("{method} {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    case(name, head + "hello", Served(statuses))
}

/// A POST with a chunked body.
fn chunks(name: &'static str, body: impl AsRef<[u8]>, expect: Expect) -> Case {
    post(name, "Transfer-Encoding: chunked", body, expect)
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [
        request_line::all(),
        field_lines::all(),
        bodies::all(),
        persistence::all(),
    ]
    .concat()
}
