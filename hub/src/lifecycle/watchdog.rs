//! Tells the service manager that the hub lives, for as long as it does: while the control thread and
//! every reactor answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;

use super::systemd;
use crate::shared::Shared;
use crate::shared::inspection::{Inspection, ReactorLoad};
use crate::shared::message::{ControlMessage, Operation, OperationRequest};

/// Tells it, three times in each `time`; ends when another hub has taken over.
pub async fn run(shared: Arc<Shared>, time: Duration) {
    let interval = time / 3;
    while !shared.has_successor.load(Ordering::Acquire) {
        // First, so that a hub that has taken over is known as the service by then.
        tokio::time::sleep(interval).await;
        if let Ok(status) = tokio::time::timeout(interval, observe(&shared)).await {
            systemd::alive(&status);
        } else {
            tracing::error!(
                "the watchdog: the control thread or a reactor has not answered for {interval:?}; without an \
                 answer the service manager ends the hub after {time:?}"
            );
        }
    }
}

/// Asks everybody, and says how the hub is.
async fn observe(shared: &Shared) -> String {
    let (reply, answer) = oneshot::channel();
    let request = OperationRequest {
        operation: Operation::Live,
        query: String::new(),
        accept: String::new(),
    };
    shared.tell_control(ControlMessage::Operation(request, reply));
    // No answer at all is the end of the hub, and not a hub that hangs.
    let _ = answer.await;
    let mut connections = 0;
    for inspections in &shared.inspections {
        let (reply, load) = oneshot::channel::<ReactorLoad>();
        if inspections.send(Inspection::Load(reply)).is_ok()
            && let Ok(load) = load.await
        {
            connections += load.connections;
        }
    }
    summary(shared, Some(connections))
}

/// How the hub is, in a line.
pub fn summary(shared: &Shared, connections: Option<u64>) -> String {
    let table = shared.routes.current();
    let workers = table.live_count();
    let connections = connections.map_or(String::new(), |count| format!(", {count} connections"));
    let end = if shared.is_stopping() {
        "; finishing what is in flight"
    } else if shared.unready.load(Ordering::Acquire) {
        "; about to stop"
    } else {
        ""
    };
    format!("{workers} workers{connections}{end}")
}
