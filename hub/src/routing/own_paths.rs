//! Paths that the hub answers itself. No worker can register one.

/// Whether the hub answers a path itself.
pub fn is_control_path(path: &str) -> bool {
    path == "/health" || path == "/internal" || path.starts_with("/internal/")
}

/// Whether a path is an event stream of the hub's own.
pub fn is_event_path(path: &str) -> bool {
    path == "/events" || path.starts_with("/events/")
}
