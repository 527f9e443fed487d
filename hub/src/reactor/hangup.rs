//! Which clients leave while a worker has their request.
//!
//! Most requests are answered long before anybody could leave, so a connection is
//! watched only once its request has been with the worker for a tick. Until
//! then it costs a flag and a counter.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use slotway_net::{Hangups, Timer, monotonic_ns};
use tokio::sync::Notify;

use super::activity::Activity;
use super::connections::{ConnectionState, Connections};
use crate::limits::{HANGUP_PAUSE, HANGUP_TICK};

/// See the module; one for each reactor.
pub struct HangupWatch {
    /// Connections that have had a request since the last tick, or wait for one.
    active: RefCell<Vec<Rc<ConnectionState>>>,
    begun: Notify,
    hangups: Hangups,
    /// A timeout of the runtime's would be set anew for every sleep of the thread, which
    /// cost a tenth of the CPU at one connection.
    timer: Timer,
    is_ticking: Cell<bool>,
}

impl HangupWatch {
    /// Nobody is looked after yet. On the reactor's thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            active: RefCell::default(),
            begun: Notify::new(),
            hangups: Hangups::new()?,
            timer: Timer::new()?,
            is_ticking: Cell::new(false),
        })
    }

    /// A connection's request goes to a worker.
    #[inline]
    pub fn begin(&self, connection: &Rc<ConnectionState>) {
        if connection.activity.begin() {
            self.active.borrow_mut().push(Rc::clone(connection));
            if !self.is_ticking.replace(true) {
                self.begun.notify_one();
            }
        }
    }

    /// It has been answered, or given up.
    #[inline]
    pub fn end(&self, connection: &ConnectionState) {
        if connection.activity.end() {
            self.hangups.forget(connection.stream());
        }
    }

    /// Watches a connection at once: it waits for a slot.
    pub fn watch_now(&self, connection: &ConnectionState) {
        if !connection.activity.is_watched.get() {
            // Without memory for it the client's leaving is noticed later.
            let watched = self.hangups.watch(connection.stream(), connection.id());
            connection.activity.is_watched.set(watched.is_ok());
        }
    }

    /// Looks over the active connections every tick; ends only with an error.
    async fn tick(&self) -> io::Result<()> {
        loop {
            if self.active.borrow().is_empty() {
                self.is_ticking.set(false);
                self.begun.notified().await;
            }
            self.timer
                .set(monotonic_ns() + HANGUP_TICK.as_nanos() as u64)?;
            self.timer.rung().await?;
            let mut active = self.active.borrow_mut();
            active.retain(|connection| match connection.activity.on_tick() {
                Activity::Busy => true,
                Activity::Idle => false,
                Activity::Waits => {
                    self.watch_now(connection);
                    false
                }
            });
        }
    }

    /// Tells connections that their clients have hung up. Ends only with an error.
    async fn listen(&self, connections: &Connections) -> io::Result<()> {
        let mut found = Vec::new();
        loop {
            self.hangups.next(&mut found).await?;
            for (id, hangup) in found.drain(..) {
                if let Some(connection) = connections.find(id) {
                    connection.hung_up(hangup);
                }
            }
        }
    }
}

/// Looks which requests take long, and tells connections that their clients have hung up;
/// never ends.
pub async fn run(watch: Rc<HangupWatch>, connections: Rc<Connections>) {
    loop {
        let result = tokio::select! {
            result = watch.tick() => result,
            result = watch.listen(&connections) => result,
        };
        if let Err(error) = result {
            tracing::warn!(
                %error,
                "cannot watch for clients that leave; trying again"
            );
        }
        tokio::time::sleep(HANGUP_PAUSE).await;
    }
}
