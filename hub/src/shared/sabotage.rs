//! Panics on demand, for tests of what becomes of the hub then. Not in release builds.

/// Panics if `SLOTWAY_SABOTAGE` names this place.
#[inline]
pub fn point(place: &str) {
    #[cfg(debug_assertions)]
    {
        static PLACE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
        let chosen = PLACE.get_or_init(|| std::env::var("SLOTWAY_SABOTAGE").ok());
        assert!(chosen.as_deref() != Some(place), "sabotage at {place}");
    }
    #[cfg(not(debug_assertions))]
    let _ = place;
}
