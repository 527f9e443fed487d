//! Noticing that peers leave while nothing is read from them.

use std::io;
use std::os::fd::AsFd;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::readable::{Watched, readable};

/// What a peer has done to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// It will send no more. It may still read, or have closed altogether: TCP
    /// does not say which until something is sent.
    Half,
    /// It is gone.
    Gone,
}

/// Sockets whose peers are watched; see the module.
///
/// An epoll instance of its own, waited on through the runtime's: sockets are in
/// it only while they are watched, so others cost nothing, and what arrives to be
/// read is no event.
#[derive(Debug)]
pub struct Hangups {
    epoll: Watched,
}

/// Events taken from the kernel at a time.
const BATCH: usize = 64;

impl Hangups {
    /// None watched. In a runtime of [`crate::run`].
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll: readable(epoll)?,
        })
    }

    /// Watches a socket, which must not be watched already. What its peer did
    /// before is told too.
    pub fn watch(&self, socket: impl AsFd, key: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let key = epoll::EventData::new_u64(key);
        Ok(epoll::add(&self.epoll, socket, key, flags)?)
    }

    /// Ends the watch of a socket.
    pub fn forget(&self, socket: impl AsFd) {
        // Fails only for a socket that is not watched.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits until peers hang up, and puts their keys into `found`.
    pub async fn next(&self, found: &mut Vec<(u64, Hangup)>) -> io::Result<()> {
        loop {
            let mut ready = self.epoll.readable().await?;
            let mut events = Vec::with_capacity(BATCH);
            let at_once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let epoll = &self.epoll;
            match epoll::wait(epoll, spare_capacity(&mut events), Some(&at_once)) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if events.len() < BATCH {
                ready.clear_ready();
            }
            found.extend(events.iter().map(|event| {
                let gone = epoll::EventFlags::ERR | epoll::EventFlags::HUP;
                // Copied: the kernel's record is packed.
                let (flags, key) = (event.flags, event.data);
                let is_gone = flags.intersects(gone);
                let hangup = if is_gone { Hangup::Gone } else { Hangup::Half };
                (key.u64(), hangup)
            }));
            if !found.is_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::time::Duration;

    async fn next(hangups: &Hangups) -> Vec<(u64, Hangup)> {
        let mut found = Vec::new();
        let wait = tokio::time::timeout(Duration::from_secs(5), hangups.next(&mut found));
        wait.await.expect("it is noticed").unwrap();
        found
    }

    #[tokio::test]
    async fn a_peer_that_half_closes_and_one_that_is_gone_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let hangups = Hangups::new().unwrap();
        hangups.watch(&server, 7).unwrap();
        client.write_all(b"to be read is no event").unwrap();
        let silence = Duration::from_millis(20);
        let waited = tokio::time::timeout(silence, hangups.next(&mut Vec::new())).await;
        assert!(waited.is_err(), "bytes are no hangup");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(next(&hangups).await, [(7, Hangup::Half)]);
        drop(client);
        server.write_all(b"now TCP finds out").unwrap();
        assert_eq!(next(&hangups).await, [(7, Hangup::Gone)]);
    }

    #[tokio::test]
    async fn what_a_peer_did_before_the_watch_is_told_and_after_it_is_not() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let (others, _kept) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(theirs);
        let hangups = Hangups::new().unwrap();
        hangups.watch(&others, 1).unwrap();
        hangups.forget(&others);
        hangups.watch(&ours, 2).unwrap();
        others.shutdown(Shutdown::Both).unwrap();
        assert_eq!(next(&hangups).await, [(2, Hangup::Gone)]);
    }
}
