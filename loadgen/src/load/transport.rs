//! What a connection's bytes go over: a stream, or TLS on it.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use slotway_net::Stream;

use crate::tls::{TlsClient, TlsSession};

/// A connected stream, and TLS if the target speaks it.
pub struct Transport {
    stream: Rc<Stream>,
    tls: Option<Box<TlsSession>>,
}

impl Transport {
    /// Over a connected stream; agrees on TLS first, if it is wanted.
    pub async fn open(stream: Stream, tls: Option<&TlsClient>) -> io::Result<Self> {
        let tls = match tls {
            Some(client) => Some(Box::new(client.handshake(&stream).await?)),
            None => None,
        };
        Ok(Self {
            stream: Rc::new(stream),
            tls,
        })
    }

    /// The stream below, to be shut down by others.
    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    /// Sends all of it; the buffer comes back.
    pub async fn write_all(&mut self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        match &mut self.tls {
            None => self.stream.write_all_now(bytes).await,
            Some(tls) => (tls.write_all(&self.stream, &bytes).await, bytes),
        }
    }

    /// Like [`Transport::write_all`], for bytes that many connections share.
    pub async fn write_shared(&mut self, bytes: &Bytes) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_shared_now(bytes).await,
            Some(tls) => tls.write_all(&self.stream, bytes).await,
        }
    }

    /// Reads once behind what is in `buffer`, which should have spare capacity for it; 0 is the end.
    pub async fn read(&mut self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match &mut self.tls {
            None => self.stream.read(buffer).await,
            Some(tls) => (tls.read(&self.stream, &mut buffer).await, buffer),
        }
    }
}
