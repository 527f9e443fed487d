//! Tasks without which a hub is half a hub. A panic in one of them ends the hub, with a
//! clear line and a code by which a supervisor starts it again.

use std::sync::Arc;

use super::Shared;

/// Says so if the task that it belongs to panics.
struct Guard {
    shared: Arc<Shared>,
    what: &'static str,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Tasks that are merely ended are dropped without a panic.
        if std::thread::panicking() {
            self.shared.fail(format!("{} panicked", self.what));
        }
    }
}

/// Runs a task that the hub cannot be without.
pub async fn vital<T>(shared: Arc<Shared>, what: &'static str, task: impl Future<Output = T>) -> T {
    let _guard = Guard { shared, what };
    task.await
}
