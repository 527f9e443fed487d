//! The tokio runtime that async handlers go to, where there is one.

/// A handle of the runtime that was current when the worker started, if one was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spawner {
    #[cfg(feature = "tokio")]
    handle: Option<tokio::runtime::Handle>,
}

impl Spawner {
    /// The runtime that is current here.
    pub fn current() -> Self {
        Self {
            #[cfg(feature = "tokio")]
            handle: tokio::runtime::Handle::try_current().ok(),
        }
    }

    /// Makes the runtime current on this thread while the guard lives: futures are
    /// polled there first, and may want timers or sockets then.
    #[cfg(feature = "tokio")]
    pub fn enter(&self) -> Option<tokio::runtime::EnterGuard<'_>> {
        self.handle.as_ref().map(tokio::runtime::Handle::enter)
    }

    /// There is none.
    #[cfg(not(feature = "tokio"))]
    #[expect(
        clippy::unused_self,
        reason = "there is a runtime with the feature tokio"
    )]
    pub fn enter(&self) -> Option<std::convert::Infallible> {
        None
    }

    /// Whether there is one.
    #[cfg(feature = "tokio")]
    pub fn is_there(&self) -> bool {
        self.handle.is_some()
    }

    /// How many of its threads run futures.
    #[cfg(feature = "tokio")]
    pub fn thread_count(&self) -> usize {
        let handle = self.handle.as_ref();
        handle.map_or(0, |handle| handle.metrics().num_workers())
    }

    /// Runs a future there.
    #[cfg(feature = "tokio")]
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let handle = self.handle.as_ref();
        handle
            .expect("a worker with async handlers starts only in a runtime")
            .spawn(future);
    }
}
