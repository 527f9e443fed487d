//! Client sockets that a worker has been handed, and so holds: they are counted among the hub's
//! connections until the worker says that they have ended, or is gone itself.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use rustix::io::Errno;
use slotway_shm_proto::packet;
use slotway_shm_proto::upgrade::HandOver;

/// What one session's worker holds.
#[derive(Debug, Default)]
pub struct Upgrades {
    /// The session's connection, if its worker takes sockets. Whoever ends the session closes it,
    /// so this must not keep it open.
    connection: Option<Weak<OwnedFd>>,
    /// How many it holds; `None` once the session has ended.
    held: Mutex<Option<Held>>,
}

/// Sockets that a worker holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// From this hub.
    handed: u32,
    /// From hubs before it, as it says.
    brought: u32,
}

/// Why a socket did not go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHanded {
    /// The worker does not read its messages just now.
    Busy,
    /// The session has ended.
    Ended,
}

impl Upgrades {
    /// Of a worker that is reached by `connection`.
    pub fn new(connection: Option<Weak<OwnedFd>>) -> Self {
        Self {
            connection,
            held: Mutex::new(Some(Held::default())),
        }
    }

    /// Whether the worker can be handed sockets.
    pub fn takes_sockets(&self) -> bool {
        self.connection.is_some()
    }

    /// Hands a client's socket over, and counts it.
    pub fn hand_over(
        &self,
        message: HandOver<'_>,
        socket: BorrowedFd<'_>,
    ) -> Result<(), NotHanded> {
        let mut held = self.lock();
        let held = held.as_mut().ok_or(NotHanded::Ended)?;
        // The worker cannot say that it has ended before it is counted: who hears it waits here.
        self.send(&message.to_packet(), &[socket])?;
        held.handed += 1;
        Ok(())
    }

    /// Says that it did not come to a hand-over. False: the worker does not read just now.
    pub fn call_off(&self, message: HandOver<'_>) -> bool {
        self.send(&message.to_packet(), &[]) != Err(NotHanded::Busy)
    }

    fn send(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), NotHanded> {
        let connection = self.connection.as_ref().and_then(Weak::upgrade);
        let connection = connection.ok_or(NotHanded::Ended)?;
        packet::send_now(&connection, packet, fds).map_err(|error| {
            let errno = Errno::from_io_error(&error);
            match errno {
                Some(Errno::AGAIN | Errno::NOBUFS | Errno::INTR | Errno::TOOMANYREFS) => {
                    NotHanded::Busy
                }
                _ => NotHanded::Ended,
            }
        })
    }

    /// The worker brings so many along from earlier sessions.
    pub fn bring(&self, brought: u32) {
        if let Some(held) = &mut *self.lock() {
            held.brought = brought;
        }
    }

    /// So many have ended, the worker says. Returns how many of those this hub had counted.
    pub fn release(&self, handed: u32, brought: u32) -> u32 {
        let mut lock = self.lock();
        let Some(held) = lock.as_mut() else {
            return 0;
        };
        let released = handed.min(held.handed);
        held.handed -= released;
        held.brought = held.brought.saturating_sub(brought);
        released
    }

    /// The session has ended. Returns how many of this hub's it had, which are counted no more.
    pub fn end(&self) -> u32 {
        self.lock().take().map_or(0, |held| held.handed)
    }

    /// How many the worker holds.
    pub fn count(&self) -> u32 {
        self.lock()
            .map_or(0, |held| held.handed.saturating_add(held.brought))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_says_changes_no_more_than_was_counted() {
        let upgrades = Upgrades::new(None);
        assert!(!upgrades.takes_sockets());
        upgrades.bring(3);
        assert_eq!(upgrades.release(5, 2), 0);
        assert_eq!(upgrades.count(), 1);
        upgrades.bring(u32::MAX);
        assert_eq!((upgrades.count(), upgrades.end()), (u32::MAX, 0));
        upgrades.bring(1);
        assert_eq!(
            (upgrades.end(), upgrades.release(1, 1), upgrades.count()),
            (0, 0, 0)
        );
    }
}
