//! The least HTTP server there is: an epoll loop that answers every head with
//! the same few bytes. It shows what the generator and the machine cost by
//! themselves, and on demand it stalls, as a server with a long pause does.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

/// What every request gets.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nitem 42";

/// How often the loop looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A pause that comes again and again.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    /// From the start of one to the start of the next.
    pub every: Duration,
    /// How long nothing is answered.
    pub length: Duration,
}

/// A running server; it ends with the value.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts one on a free port of the loopback, on a thread of its own.
    pub fn start(stall: Option<Stall>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        // The standard library's backlog of 128 is too short for a burst of
        // connections; listening again replaces it.
        rustix::net::listen(&listener, 4096)?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let server = Server::new(listener.into(), stall)?;
        let thread = std::thread::Builder::new()
            .name("echo".to_owned())
            .spawn(move || {
                // It fails only if the system takes its epoll away, and then
                // the load sees that nobody answers.
                let _ = server.serve(&ends);
            })?;
        Ok(Self {
            address,
            is_over,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

struct Server {
    epoll: OwnedFd,
    listener: OwnedFd,
    stall: Option<Stall>,
    clients: HashMap<u64, Client>,
}

struct Client {
    socket: OwnedFd,
    /// How much of the blank line behind a head has come.
    matched: usize,
}

impl Server {
    fn new(listener: OwnedFd, stall: Option<Stall>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(listener.as_raw_fd() as u64);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            stall,
            clients: HashMap::new(),
        })
    }

    fn serve(mut self, is_over: &AtomicBool) -> io::Result<()> {
        let mut events = Vec::with_capacity(512);
        let mut buffer = vec![0; 64 * 1024];
        let look = rustix::event::Timespec::try_from(LOOK).expect("a short time");
        let mut next_stall = self.stall.map(|stall| Instant::now() + stall.every);
        while !is_over.load(Ordering::Relaxed) {
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, Some(&look)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if let (Some(stall), Some(at)) = (self.stall, next_stall)
                && Instant::now() >= at
            {
                std::thread::sleep(stall.length);
                next_stall = Some(at + stall.every);
            }
            for event in &events {
                let key = event.data.u64();
                if key == self.listener.as_raw_fd() as u64 {
                    self.accept_all()?;
                } else if let Some(client) = self.clients.get_mut(&key)
                    && !client.respond(&mut buffer)
                {
                    // Closing takes it out of the epoll.
                    self.clients.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn accept_all(&mut self) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => {
                    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
                    let key = socket.as_raw_fd() as u64;
                    let data = epoll::EventData::new_u64(key);
                    epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
                    self.clients.insert(key, Client { socket, matched: 0 });
                }
                Err(Errno::INTR) => {}
                Err(Errno::MFILE | Errno::NFILE) => {
                    // It stays ready; asking again at once would only spin.
                    std::thread::sleep(LOOK);
                    return Ok(());
                }
                // None left, or one that is gone already.
                Err(_) => return Ok(()),
            }
        }
    }
}

impl Client {
    /// Answers each head that has come; false when the client is gone.
    fn respond(&mut self, buffer: &mut [u8]) -> bool {
        let received = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => return false,
            Ok((received, _)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        };
        for _ in 0..self.heads_in(&buffer[..received]) {
            // A client that asks without reading is not one of ours.
            match rustix::net::send(&self.socket, RESPONSE, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == RESPONSE.len() => {}
                _ => return false,
            }
        }
        true
    }

    fn heads_in(&mut self, bytes: &[u8]) -> usize {
        const END: &[u8; 4] = b"\r\n\r\n";
        // Nearly always one head has come, and nothing else.
        if self.matched == 0
            && memchr::memmem::find(bytes, END) == Some(bytes.len().wrapping_sub(4))
        {
            return 1;
        }
        let mut heads = 0;
        for byte in bytes {
            self.matched = match (*byte, self.matched) {
                (byte, matched) if byte == END[matched] => matched + 1,
                (b'\r', _) => 1,
                _ => 0,
            };
            if self.matched == END.len() {
                self.matched = 0;
                heads += 1;
            }
        }
        heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn every_head_gets_its_answer_however_it_is_cut() {
        let echo = Echo::start(None).unwrap();
        let mut client = TcpStream::connect(echo.address()).unwrap();
        let mut expected = 0;
        for piece in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\n\r",
            "\nGET",
            " /\r\n\r\nX\r\n\r\n",
        ] {
            client.write_all(piece.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut received = vec![0; 4 * RESPONSE.len()];
        client.read_exact(&mut received).unwrap();
        for response in received.chunks(RESPONSE.len()) {
            assert_eq!(response, RESPONSE);
            expected += 1;
        }
        assert_eq!(expected, 4);
    }
}
