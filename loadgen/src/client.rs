//! One keep-alive connection: a request out, a whole response in.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::limits::{FIELD_COUNT_MAX, HEAD_BYTES_MAX};
use crate::target::Target;

/// A connection to a target.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Reset, closed early, or the like.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// Not an HTTP response with a length.
    #[error("malformed response: {0}")]
    Malformed(&'static str),
}

struct Head {
    bytes: usize,
    status: u16,
    body_bytes: usize,
    closes: bool,
}

impl Client {
    /// Connects.
    pub async fn connect(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends `request` and reads the response to its end. Returns its status,
    /// and whether the connection can be used again.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<(u16, bool), RequestError> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                let error =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "closed without a response");
                return Err(error.into());
            }
            if let Some(head) = parse(&self.buffer)? {
                self.skip_body(head.bytes + head.body_bytes).await?;
                return Ok((head.status, !head.closes));
            }
        }
    }

    async fn skip_body(&mut self, response_bytes: usize) -> Result<(), RequestError> {
        let mut left = response_bytes
            .checked_sub(self.buffer.len())
            .ok_or(RequestError::Malformed("more bytes than its length"))?;
        while left > 0 {
            self.buffer.clear();
            let read = self.stream.read_buf(&mut self.buffer).await?;
            if read == 0 {
                let error =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "closed within a response");
                return Err(error.into());
            }
            left = left
                .checked_sub(read)
                .ok_or(RequestError::Malformed("more bytes than its length"))?;
        }
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Head>, RequestError> {
    let mut fields = [httparse::EMPTY_HEADER; FIELD_COUNT_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let head_bytes = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => {
            return Err(RequestError::Malformed("a head larger than 64 KiB"));
        }
        Err(_) => return Err(RequestError::Malformed("not HTTP/1.1")),
    };
    let field = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let status = response.code.unwrap_or_default();
    let body_bytes = match field("content-length") {
        Some(length) => length
            .parse()
            .map_err(|_| RequestError::Malformed("its Content-Length"))?,
        None if status == 204 || status == 304 => 0,
        None => return Err(RequestError::Malformed("no Content-Length")),
    };
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Head {
        bytes: head_bytes,
        status,
        body_bytes,
        closes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_head_is_read_once_it_is_whole() {
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        assert!(parse(&text[..30]).unwrap().is_none());
        let head = parse(text).unwrap().unwrap();
        assert_eq!((head.status, head.body_bytes, head.closes), (404, 3, true));
        assert_eq!(head.bytes, text.len() - 3);
    }

    #[test]
    fn a_response_without_a_length_is_malformed() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok());
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
