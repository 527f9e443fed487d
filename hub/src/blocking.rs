//! Something that blocks, on a thread of its own. The runtime's own threads would panic
//! where the system has none to give.

use std::io;

use tokio::sync::oneshot;

/// Runs it there and waits for what it returns.
pub async fn run<T: Send + 'static>(
    name: &str,
    task: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        // Who waited may have gone.
        let _ = done.send(task());
    })?;
    // It panicked: that has been said.
    result.await.map_err(io::Error::other)
}
