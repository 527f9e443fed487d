//! Panics and pauses on demand, for tests of what becomes of the hub then. Not in release
//! builds.

#[cfg(debug_assertions)]
fn is_chosen(place: &str) -> bool {
    static PLACE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = PLACE.get_or_init(|| std::env::var("SLOTWAY_SABOTAGE").ok());
    chosen.as_deref() == Some(place)
}

#[cfg(not(debug_assertions))]
fn is_chosen(_: &str) -> bool {
    false
}

/// Panics if `SLOTWAY_SABOTAGE` names this place.
#[inline]
pub fn point(place: &str) {
    assert!(!is_chosen(place), "sabotage at {place}");
}

/// Blocks for a while if `SLOTWAY_SABOTAGE` names this place: a moment between two steps
/// becomes one that others can see.
#[inline]
pub fn pause(place: &str) {
    if is_chosen(place) {
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
}
