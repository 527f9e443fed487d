//! HTTP to the hub's own paths, over TCP or a Unix socket. Blocks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{HubConnection, HubResponse};
use super::url::HubUrl;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HubClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: HubUrl,
    /// What a hub on another host wants to be told.
    secret: Option<String>,
    timeout: Duration,
    /// Connections that may have another request.
    idle: Mutex<Vec<HubConnection>>,
    idle_count_max: usize,
}

impl HubClient {
    /// One whose requests take no longer than this, and which keeps so many connections
    /// for further ones.
    pub fn new(url: HubUrl, timeout: Duration, idle_count_max: usize) -> Self {
        let secret = std::env::var("HUB_SECRET").ok();
        let is_secret = |secret: &String| {
            let is_visible = secret.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
            is_visible && !secret.is_empty() && secret.trim() == secret
        };
        Self(Arc::new(Inner {
            secret: secret.filter(|secret| !url.is_on_this_host() && is_secret(secret)),
            url,
            timeout,
            idle: Mutex::default(),
            idle_count_max,
        }))
    }

    /// The URL of one of the hub's paths, as people read it.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.0.url)
    }

    /// Posts a JSON document. The error is the transport's.
    pub fn post(&self, path: &str, document: &[u8]) -> Result<HubResponse, String> {
        let (authority, base_path) = match &self.0.url {
            HubUrl::Tcp {
                authority,
                base_path,
                ..
            } => (&**authority, &**base_path),
            HubUrl::Unix(_) => ("localhost", ""),
        };
        let length = document.len();
        let mut request = format!(
            "POST {base_path}{path} HTTP/1.1\r\nHost: {authority}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n"
        )
        .into_bytes();
        if let Some(secret) = &self.0.secret {
            request.extend_from_slice(format!("X-Hub-Secret: {secret}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(document);
        let deadline = Instant::now() + self.0.timeout;
        let exchange = || {
            let mut connection = match self.take_idle() {
                Some(connection) => connection,
                None => HubConnection::open(&self.0.url, deadline)?,
            };
            let (response, stays) = connection.exchange(&request, deadline)?;
            if stays {
                self.keep(connection);
            }
            Ok(response)
        };
        exchange().map_err(|error: std::io::Error| error.to_string())
    }

    fn take_idle(&self) -> Option<HubConnection> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if connection.is_idle() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: HubConnection) {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.0.idle_count_max {
            idle.push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_connection_over_a_unix_socket_is_kept_and_replaced_once_it_is_closed() {
        let folder = std::env::temp_dir().join(format!("slotway-client-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("hub.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            // Two requests on the first connection, one on the second.
            for count in [2, 1] {
                let (mut stream, _) = listener.accept().unwrap();
                for _ in 0..count {
                    let mut bytes = [0; 1000];
                    let mut text = String::new();
                    while !text.ends_with("{}") {
                        let count = stream.read(&mut bytes).unwrap();
                        assert!(count > 0, "{text}");
                        text += std::str::from_utf8(&bytes[..count]).unwrap();
                    }
                    seen.push(text);
                    let response = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
                    stream.write_all(response.as_bytes()).unwrap();
                }
            }
            seen
        });
        let url = HubUrl::parse(&format!("unix:{}", path.display())).unwrap();
        let client = HubClient::new(url, Duration::from_secs(20), 1);
        for _ in 0..3 {
            let response = client.post("/internal/x", b"{}").unwrap();
            assert_eq!((response.status, response.text.as_str()), (404, "no"));
            // The close of the first must have arrived.
            std::thread::sleep(Duration::from_millis(20));
        }
        let seen = server.join().unwrap();
        assert!(
            seen.iter()
                .all(|text| text.starts_with("POST /internal/x HTTP/1.1\r\n"))
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
