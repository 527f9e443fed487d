//! Letting each request of an open loop go at its intended time.
//!
//! A free connection takes the next ticket, a request's intended time, and waits
//! for it. So tickets are taken in their order, the earliest that is not under
//! way goes to whichever connection is free first, and if none is, the time that
//! passes counts: there is no coordinated omission.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use slotway_net::{Timer, monotonic_ns};

use crate::schedule::Schedule;

/// The tickets of one thread.
pub struct Pacer {
    schedule: Schedule,
    start_ns: Cell<u64>,
    /// This thread's next request, among those of all threads.
    next_index: Cell<u64>,
    thread_count: u64,
    timer: Timer,
    /// Someone calls `wake_due` all the time, so the timer is not needed.
    spins: bool,
    /// Connections that wait for their tickets' times, which are in order.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    is_released: Cell<bool>,
}

impl Pacer {
    /// The tickets whose index is `thread_index` modulo `thread_count`.
    pub fn new(
        schedule: Schedule,
        thread_index: usize,
        thread_count: usize,
        connection_count: usize,
        spins: bool,
    ) -> io::Result<Self> {
        Ok(Self {
            schedule,
            start_ns: Cell::new(0),
            next_index: Cell::new(thread_index as u64),
            thread_count: thread_count as u64,
            timer: Timer::new()?,
            spins,
            waiting: RefCell::new(VecDeque::with_capacity(connection_count)),
            is_released: Cell::new(false),
        })
    }

    /// Sets the moment from which intended times count.
    pub fn start_at(&self, start_ns: u64) {
        self.start_ns.set(start_ns);
    }

    /// Takes the next ticket: an intended time on `CLOCK_MONOTONIC`. `None`
    /// behind the last.
    pub fn take(&self) -> Option<u64> {
        let index = self.next_index.get();
        let due_ns = self.schedule.due_ns(index)?;
        self.next_index.set(index + self.thread_count);
        Some(self.start_ns.get() + due_ns)
    }

    /// Tickets due by `now_ns` that nobody has taken.
    pub fn untaken_count(&self, now_ns: u64) -> u64 {
        let is_due = |steps: u64| self.due_after(steps).is_some_and(|due_ns| due_ns <= now_ns);
        let mut above = 1;
        while is_due(above - 1) {
            above *= 2;
        }
        // Intended times are in order, so there may be millions.
        let (mut low, mut high) = (above / 2, above);
        while low < high {
            let middle = low.midpoint(high);
            if is_due(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How long the untaken tickets have waited: ages with how many are about
    /// that old.
    pub fn untaken_ages(&self, now_ns: u64) -> impl Iterator<Item = (u64, u64)> {
        const STEPS_MAX: u64 = 4096;
        let count = self.untaken_count(now_ns);
        let steps = count.min(STEPS_MAX);
        (0..steps).filter_map(move |step| {
            let (from, to) = (count * step / steps, count * (step + 1) / steps);
            let due_ns = self.due_after(from)?;
            Some((now_ns.saturating_sub(due_ns), to - from))
        })
    }

    /// Intended time of the ticket so many behind the next.
    fn due_after(&self, steps: u64) -> Option<u64> {
        let index = self
            .next_index
            .get()
            .checked_add(steps.checked_mul(self.thread_count)?)?;
        Some(self.start_ns.get() + self.schedule.due_ns(index)?)
    }

    /// Waits for a ticket's time, and returns the time at which the wait was
    /// over; `None` if it had passed already.
    pub async fn wait(&self, due_ns: u64) -> Option<u64> {
        if monotonic_ns() >= due_ns {
            return None;
        }
        let mut is_queued = false;
        let woken_ns = poll_fn(|context| {
            let now_ns = monotonic_ns();
            if is_queued && (now_ns >= due_ns || self.is_released.get()) {
                return Poll::Ready(now_ns);
            }
            if !is_queued {
                is_queued = true;
                let mut waiting = self.waiting.borrow_mut();
                waiting.push_back((due_ns, context.waker().clone()));
                if waiting.len() == 1 && !self.spins {
                    self.timer
                        .set(due_ns)
                        .expect("a legal time of a timer of ours");
                }
            }
            Poll::Pending
        })
        .await;
        Some(woken_ns)
    }

    /// Lets everyone go who waits: the run ends early.
    pub fn release(&self) {
        self.is_released.set(true);
        for (_, waker) in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Wakes connections as their times come, for as long as the thread runs.
    pub async fn ring(&self) -> io::Result<()> {
        loop {
            self.timer.rung().await?;
            if let Some(due_ns) = self.wake_due() {
                self.timer.set(due_ns)?;
            }
        }
    }

    /// Wakes every connection whose time has come; returns the next time.
    pub fn wake_due(&self) -> Option<u64> {
        let mut waiting = self.waiting.borrow_mut();
        let now_ns = monotonic_ns();
        while let Some((due_ns, _)) = waiting.front() {
            if *due_ns > now_ns {
                return Some(*due_ns);
            }
            if let Some((_, waker)) = waiting.pop_front() {
                waker.wake();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Rate;
    use slotway_net::{Engine, run};
    use std::rc::Rc;

    #[test]
    fn every_ticket_goes_once_and_never_early() {
        let schedule = Schedule::new(
            &Rate::parse("2000").unwrap(),
            std::time::Duration::ZERO,
            0.05,
            None,
        );
        let mut log = run(Engine::Epoll, async {
            let pacer = Rc::new(Pacer::new(schedule, 0, 1, 4, false).unwrap());
            pacer.start_at(monotonic_ns());
            let ringer = Rc::clone(&pacer);
            tokio::task::spawn_local(async move { ringer.ring().await });
            let log = Rc::new(RefCell::new(Vec::new()));
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let (pacer, log) = (Rc::clone(&pacer), Rc::clone(&log));
                    tokio::task::spawn_local(async move {
                        while let Some(due_ns) = pacer.take() {
                            pacer.wait(due_ns).await;
                            assert!(monotonic_ns() >= due_ns);
                            log.borrow_mut().push(due_ns);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            log.take()
        })
        .unwrap();
        log.sort_unstable();
        log.dedup();
        assert_eq!(log.len(), 100);
    }

    #[test]
    fn threads_share_the_tickets_without_a_gap() {
        let schedule = Schedule::new(
            &Rate::parse("1000").unwrap(),
            std::time::Duration::ZERO,
            0.01,
            None,
        );
        let mut all = run(Engine::Epoll, async {
            let mut all = Vec::new();
            for index in 0..3 {
                let pacer = Pacer::new(schedule.clone(), index, 3, 1, false).unwrap();
                all.extend(std::iter::from_fn(|| pacer.take()));
                assert_eq!(pacer.untaken_count(u64::MAX), 0);
            }
            let late = Pacer::new(schedule, 0, 1, 1, false).unwrap();
            assert_eq!(late.untaken_count(5_000_000), 6);
            assert_eq!(late.untaken_count(0), 1);
            let ages: Vec<_> = late.untaken_ages(2_500_000).collect();
            assert_eq!(ages, [(2_500_000, 1), (1_500_000, 1), (500_000, 1)]);
            all
        })
        .unwrap();
        all.sort_unstable();
        let expected: Vec<u64> = (0..10).map(|index| index * 1_000_000).collect();
        assert_eq!(all, expected);
    }
}
