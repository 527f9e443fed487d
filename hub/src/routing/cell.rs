//! Where the current route table is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::table::RouteTable;

/// Where the current table is found: a counter that reactors look at for each
/// request, and a lock that they take only when it has moved.
#[derive(Debug, Default)]
pub struct RouteCell {
    version: AtomicU64,
    table: Mutex<Arc<RouteTable>>,
}

impl RouteCell {
    /// Number of the current table.
    #[inline]
    pub fn version(&self) -> u64 {
        // Pairs with the Release in `publish`.
        self.version.load(Ordering::Acquire)
    }

    /// The current table.
    pub fn current(&self) -> Arc<RouteTable> {
        Arc::clone(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Swaps the table in.
    pub fn publish(&self, mut table: RouteTable) {
        // Only the control thread publishes.
        table.version = self.version.load(Ordering::Relaxed) + 1;
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.version.fetch_add(1, Ordering::Release);
    }
}
