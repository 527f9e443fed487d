//! What a connection waits for, and until when. One task of the reactor looks
//! over all of them now and then, so that no read or write needs a timer of its
//! own. Deadlines are total: bytes that dribble in do not move them, except for a
//! body's, which moves with its bytes at the least rate that is allowed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use slotway_net::{Hangup, Stream};
use tokio::sync::Notify;

use super::activity::RequestActivity;
use super::deadline::Wait;

use crate::clock;
use crate::config::deadlines::Deadlines;
use crate::http::forwarded::Client;
use crate::lanes::streams::StreamClient;
use crate::limits::{CLOCK_GRAIN_MS, IDLE_GRACE, LINGER_STOP_TIME, WATCH_INTERVAL};

/// What the reactor knows of a connection.
pub struct ConnectionState {
    id: u64,
    stream: Stream,
    /// Who operates the hub is not waited for when it stops.
    is_operator: bool,
    /// The connection's task, to be told that its client hung up.
    task: RefCell<Option<Waker>>,
    /// Whether a worker has its request.
    pub(crate) activity: RequestActivity,
    wait: Cell<Wait>,
    deadline_ms: Cell<u64>,
    is_overdue: Cell<bool>,
    /// It was too slow for a slot that others waited for.
    was_slow: Cell<bool>,
    /// That has yet to be counted and logged.
    is_slow_news: Cell<bool>,
    /// Bytes of bodies that the client has sent.
    received_bytes: Cell<u64>,
    /// How a write that takes long gets on.
    write: Cell<WriteProgress>,
    /// The id of its request, where requests have one.
    pub(crate) request_id: RefCell<String>,
    /// Whom its PROXY header names, if it has one.
    pub(crate) sender: Cell<Option<Client>>,
    /// It began with one.
    pub(crate) is_proxied: Cell<bool>,
    /// A worker has it.
    pub(crate) is_handed_over: Cell<bool>,
}

/// What the client takes of a write that takes long.
#[derive(Clone, Copy, Debug, Default)]
struct WriteProgress {
    /// The deadline that the write began with, which tells it from others.
    first_deadline_ms: u64,
    /// Until when it must have taken its share; moves on if it has.
    deadline_ms: u64,
    /// What it had taken when the deadline moved last.
    start_bytes: u64,
}

impl ConnectionState {
    /// Of a new connection.
    pub fn new(id: u64, stream: Stream, is_operator: bool) -> Self {
        Self {
            id,
            stream,
            is_operator,
            task: RefCell::default(),
            activity: RequestActivity::default(),
            wait: Cell::new(Wait::Worker),
            deadline_ms: Cell::new(u64::MAX),
            is_overdue: Cell::new(false),
            was_slow: Cell::new(false),
            is_slow_news: Cell::new(false),
            received_bytes: Cell::new(0),
            write: Cell::default(),
            request_id: RefCell::default(),
            sender: Cell::new(None),
            is_proxied: Cell::new(false),
            is_handed_over: Cell::new(false),
        }
    }

    /// Never used twice by one reactor.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether it is one of those who operate the hub.
    pub fn is_operator(&self) -> bool {
        self.is_operator
    }

    /// Its socket.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Remembers the task that this is awaited in, once for all.
    pub async fn learn_task(&self) {
        poll_fn(|cx| {
            *self.task.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    }

    /// The client has hung up: the task is told if a request waits.
    pub fn hung_up(&self, hangup: Hangup) {
        self.activity.note(hangup);
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// Waits until the client hangs up. Only in the connection's own task.
    pub async fn hangup(&self) -> Hangup {
        poll_fn(|_| {
            let hangup = self.activity.take_hangup();
            hangup.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits until a moment on the coarse clock.
    #[inline]
    pub fn wait_until(&self, wait: Wait, deadline_ms: u64) {
        self.wait.set(wait);
        self.deadline_ms.set(deadline_ms);
    }

    /// The client is not waited for.
    #[inline]
    pub fn wait_for_nothing(&self) {
        self.wait_until(Wait::Worker, u64::MAX);
    }

    /// Whether the client did not do in time what was waited for.
    pub fn is_overdue(&self) -> bool {
        self.is_overdue.get()
    }

    /// Between two requests, with nothing read of the next.
    pub fn is_idle(&self) -> bool {
        self.wait.get() == Wait::Request
    }

    /// Lets an idle connection's read end: with nothing, or with a request that
    /// is still answered.
    pub fn end_idle(&self) {
        if self.is_idle() {
            self.stream.shutdown(Shutdown::Read);
        }
    }

    /// The hub stops: a connection that is being closed waits no longer than this.
    pub fn hasten(&self, deadline_ms: u64) {
        if self.wait.get() == Wait::Linger {
            self.deadline_ms
                .set(self.deadline_ms.get().min(deadline_ms));
        }
    }

    /// Ends the connection; what is under way on it returns.
    pub fn close(&self) {
        self.stream.shutdown(Shutdown::Both);
    }

    /// So many bytes of a body have been received.
    #[inline]
    pub fn add_received(&self, bytes: u64) {
        self.received_bytes.set(self.received_bytes.get() + bytes);
    }

    /// Whether it was ended since it was too slow for a slot that others waited for.
    pub fn was_slow(&self) -> bool {
        self.was_slow.get()
    }

    /// The same, once.
    pub fn take_slow_news(&self) -> bool {
        self.is_slow_news.take()
    }

    /// Ends what is overdue.
    pub fn check(&self, now_ms: u64, deadlines: &Deadlines) {
        let mut deadline_ms = self.deadline_ms.get();
        if self.wait.get() == Wait::Write {
            deadline_ms = self.write_deadline(deadline_ms, now_ms, deadlines);
        }
        // Never early: the clock may have been behind when the deadline was set.
        if now_ms >= deadline_ms.saturating_add(CLOCK_GRAIN_MS) {
            self.end_wait();
        }
    }

    /// When a write is overdue. The socket says only that it is full, so what the client
    /// has acknowledged is looked at: one that takes bytes at the least rate gets as much
    /// time again.
    fn write_deadline(&self, deadline_ms: u64, now_ms: u64, deadlines: &Deadlines) -> u64 {
        let taken = self.taken_bytes();
        let mut write = self.write.get();
        if write.first_deadline_ms != deadline_ms {
            write = WriteProgress {
                first_deadline_ms: deadline_ms,
                deadline_ms,
                start_bytes: taken,
            };
        }
        let share = deadlines.write_bytes_per_s_min * deadlines.write_ms / 1000;
        if now_ms >= write.deadline_ms && taken.saturating_sub(write.start_bytes) >= share.max(1) {
            write.deadline_ms = now_ms + deadlines.write_ms;
            write.start_bytes = taken;
        }
        self.write.set(write);
        write.deadline_ms
    }

    /// Bytes that the client has acknowledged.
    fn taken_bytes(&self) -> u64 {
        let sent = self.stream.sent_bytes();
        sent.saturating_sub(self.stream.unacknowledged_bytes())
    }

    /// Ends what the client is waited for.
    fn end_wait(&self) {
        self.deadline_ms.set(u64::MAX);
        self.is_overdue.set(true);
        match self.wait.get() {
            Wait::Worker => {}
            // The read ends as if the client had, and its task says 408 where
            // that is due.
            Wait::Request | Wait::Head | Wait::Body => self.stream.shutdown(Shutdown::Read),
            Wait::Linger => self.stream.shutdown(Shutdown::Both),
            // What it does not take must not stay with the kernel either.
            Wait::Write => {
                self.stream.reset();
                self.stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl StreamClient for ConnectionState {
    fn is_awaited(&self) -> bool {
        matches!(self.wait.get(), Wait::Body | Wait::Write)
    }

    fn moved_bytes(&self) -> u64 {
        self.received_bytes.get() + self.taken_bytes()
    }

    fn end_slow(&self) {
        self.was_slow.set(true);
        self.is_slow_news.set(true);
        self.end_wait();
    }
}

/// The connections of one reactor.
#[derive(Default)]
pub struct Connections {
    all: RefCell<HashMap<u64, Rc<ConnectionState>>>,
    /// Those of clients.
    client_count: Cell<u64>,
    next_id: Cell<u64>,
    began: Notify,
    ended: Notify,
}

impl Connections {
    /// Enters a connection into the list of those that a stop looks at.
    pub fn add(&self, stream: Stream, is_operator: bool) -> Rc<ConnectionState> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let state = Rc::new(ConnectionState::new(id, stream, is_operator));
        self.all.borrow_mut().insert(id, Rc::clone(&state));
        if !is_operator {
            self.client_count.set(self.client_count.get() + 1);
        }
        self.began.notify_one();
        state
    }

    /// Takes a connection off the list.
    pub fn remove(&self, id: u64) {
        let removed = self.all.borrow_mut().remove(&id);
        if removed.is_some_and(|connection| !connection.is_operator) {
            self.client_count.set(self.client_count.get() - 1);
        }
        self.ended.notify_one();
    }

    /// A connection by its id.
    pub fn find(&self, id: u64) -> Option<Rc<ConnectionState>> {
        self.all.borrow().get(&id).cloned()
    }

    /// Looks over the connections for passed deadlines; never ends.
    pub async fn watch(&self, deadlines: impl Fn() -> Deadlines) {
        loop {
            let (now_ms, deadlines) = (clock::coarse_ms(), deadlines());
            for connection in self.all.borrow().values() {
                connection.check(now_ms, &deadlines);
            }
            if self.all.borrow().is_empty() {
                self.began.notified().await;
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    /// How many there are of clients, and how many of those have a request.
    pub fn counts(&self) -> (u64, u64) {
        let all = self.all.borrow();
        let is_busy =
            |connection: &&Rc<ConnectionState>| !connection.is_operator && !connection.is_idle();
        let busy = all.values().filter(is_busy).count();
        (self.client_count.get(), busy as u64)
    }

    /// How many there are of those who operate the hub.
    pub fn operator_count(&self) -> usize {
        let all = self.all.borrow();
        all.len() - self.client_count.get() as usize
    }

    /// Ends the oldest of an operator that the hub waits for: a probe is among the youngest.
    /// False: it waits for none.
    pub fn end_waiting_operator(&self) -> bool {
        let all = self.all.borrow();
        let waiting = all
            .values()
            .filter(|connection| connection.is_operator && connection.wait.get() != Wait::Worker);
        let oldest = waiting.min_by_key(|connection| connection.id);
        oldest.inspect(|connection| connection.close()).is_some()
    }

    /// The hub stops: those that are being closed hurry.
    pub fn begin_stop(&self) {
        let deadline_ms = clock::coarse_ms() + LINGER_STOP_TIME.as_millis() as u64;
        for connection in self.all.borrow().values() {
            connection.hasten(deadline_ms);
        }
    }

    /// Returns when all connections have ended, or at the limit, which ends them too.
    /// Those that are idle end a little later, since their clients may be about to send.
    pub async fn finish_stop(&self, limit: Duration) {
        let grace = IDLE_GRACE.min(limit);
        // Whether some are left is seen below.
        let _ = tokio::time::timeout(grace, self.all_ended()).await;
        for connection in self.clients() {
            connection.end_idle();
        }
        let limit = limit.saturating_sub(grace);
        if tokio::time::timeout(limit, self.all_ended()).await.is_ok() {
            return;
        }
        tracing::warn!(
            connections = self.client_count.get(),
            "the drain timeout has passed; closing the remaining connections"
        );
        for connection in self.clients() {
            connection.close();
        }
        // Operations on sockets that have been shut down end by themselves.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.all_ended()).await;
    }

    /// Ends those that the stop did not wait for.
    pub async fn close_rest(&self) {
        for connection in self.all.borrow().values() {
            connection.close();
        }
        let all_ended = async {
            while !self.all.borrow().is_empty() {
                self.ended.notified().await;
            }
        };
        // As above.
        let _ = tokio::time::timeout(Duration::from_secs(1), all_ended).await;
    }

    fn clients(&self) -> Vec<Rc<ConnectionState>> {
        let all = self.all.borrow();
        let clients = all.values().filter(|connection| !connection.is_operator);
        clients.cloned().collect()
    }

    async fn all_ended(&self) {
        while self.client_count.get() > 0 {
            self.ended.notified().await;
        }
    }
}
