//! A listening socket, TCP or Unix.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::sync::Notify;

use crate::address::Peer;
use crate::engine::Engine;
use crate::readable::{Watched, readable};
use crate::stream::Stream;

/// A listening socket, TCP or Unix.
pub struct Listener {
    engine: Engine,
    socket: Watched,
    is_closed: Cell<bool>,
    closing: Notify,
}

impl Listener {
    /// Takes over a bound and listening socket.
    pub fn new(engine: Engine, socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            engine,
            socket: readable(socket)?,
            is_closed: Cell::new(false),
            closing: Notify::new(),
        })
    }

    /// Waits for the next connection. Fails once [`Listener::close`] was called and
    /// those that had come before have been accepted: the system would reset them.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        loop {
            let ready = tokio::select! {
                biased;
                () = self.closed() => None,
                ready = self.socket.readable() => Some(ready?),
            };
            match acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok((socket, address)) => {
                    let peer = address
                        .and_then(|address| std::net::SocketAddr::try_from(address).ok())
                        .map_or(Peer::Unix, Peer::Tcp);
                    return Ok((Stream::new(self.engine, socket)?, peer));
                }
                Err(Errno::AGAIN) => match ready {
                    Some(mut ready) => ready.clear_ready(),
                    None => return Err(closed()),
                },
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether it has been closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    async fn closed(&self) {
        while !self.is_closed.get() {
            self.closing.notified().await;
        }
    }

    /// Stops accepting: what has come is still accepted, then accept fails. Dropping the listener then closes
    /// its descriptor.
    pub fn close(&self) {
        // A shutdown of the socket would not do: others may listen on it too, and
        // a Unix socket that has been shut down is always ready and always answers
        // EAGAIN.
        self.is_closed.set(true);
        self.closing.notify_one();
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the listener was closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run;
    use std::rc::Rc;

    #[test]
    fn connections_of_both_families_are_accepted_and_closing_ends_the_wait_on_each_engine() {
        let folder = std::env::temp_dir().join(format!("slotway-net-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for engine in Engine::ALL {
            let path = folder.join(format!("{engine}.sock"));
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let tcp_client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
            let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let _unix_client = std::os::unix::net::UnixStream::connect(&path).unwrap();
            run(engine, async move {
                let tcp = Rc::new(Listener::new(engine, tcp.into()).unwrap());
                let (_stream, peer) = tcp.accept().await.unwrap();
                assert_eq!(peer, Peer::Tcp(tcp_client.local_addr().unwrap()));
                let unix = Rc::new(Listener::new(engine, unix.into()).unwrap());
                assert_eq!(unix.accept().await.unwrap().1, Peer::Unix);

                for listener in [tcp, unix] {
                    let waiting = Rc::clone(&listener);
                    let accept =
                        tokio::task::spawn_local(async move { waiting.accept().await.is_err() });
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    listener.close();
                    assert!(accept.await.unwrap(), "{engine}");
                }
            })
            .unwrap();
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
