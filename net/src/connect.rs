//! Connecting to a server.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, socket_with, sockopt,
};
use tokio::io::Interest;

use crate::address::Address;
use crate::engine::Engine;
use crate::readable::registered;
use crate::stream::Stream;

/// Between two tries at a Unix socket whose backlog is full: there, connect(2)
/// answers EAGAIN, and nothing says when to come again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);

/// Connects. May be dropped at any time; nothing of it stays.
pub async fn connect(engine: Engine, address: &Address) -> io::Result<Stream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (family, protocol) = match address {
        Address::Tcp(address) if address.is_ipv4() => (AddressFamily::INET, Some(ipproto::TCP)),
        Address::Tcp(_) => (AddressFamily::INET6, Some(ipproto::TCP)),
        Address::Unix(_) => (AddressFamily::UNIX, None),
    };
    let socket = socket_with(family, SocketType::STREAM, flags, protocol)?;
    let socket = match address {
        Address::Tcp(address) => {
            // Requests are written whole; waiting for more would only delay them.
            sockopt::set_tcp_nodelay(&socket, true)?;
            match rustix::net::connect(&socket, address) {
                Ok(()) => socket,
                Err(Errno::INPROGRESS) => {
                    let waiting = registered(socket, Interest::WRITABLE)?;
                    drop(waiting.writable().await?);
                    sockopt::socket_error(&waiting)??;
                    waiting.into_inner()
                }
                Err(error) => return Err(error.into()),
            }
        }
        Address::Unix(path) => {
            let address = SocketAddrUnix::new(path)?;
            loop {
                match rustix::net::connect(&socket, &address) {
                    Ok(()) => break socket,
                    Err(Errno::AGAIN) => tokio::time::sleep(BACKLOG_PAUSE).await,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    };
    Stream::new(engine, socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::run;
    use std::net::TcpListener;

    #[test]
    fn a_listening_address_is_connected_to_and_a_closed_one_refuses_on_each_engine() {
        for engine in Engine::ALL {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = Address::Tcp(listener.local_addr().unwrap());
            run(engine, async move {
                let stream = connect(engine, &address).await.unwrap();
                let (mut accepted, _) = listener.accept().unwrap();
                stream.write_all(b"hello".to_vec()).await.0.unwrap();
                let mut received = [0; 5];
                io::Read::read_exact(&mut accepted, &mut received).unwrap();
                assert_eq!(&received, b"hello", "{engine}");
                drop(listener);
                let refused = connect(engine, &address)
                    .await
                    .err()
                    .map(|error| error.kind());
                assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused), "{engine}");
            })
            .unwrap();
        }
    }

    #[test]
    fn a_unix_path_without_a_socket_is_not_found() {
        run(Engine::Epoll, async {
            let nowhere = Address::Unix("/nonexistent/socket".into());
            let error = connect(Engine::Epoll, &nowhere).await.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        })
        .unwrap();
    }
}
