//! Looking after a thread's connections while they work: timeouts, intervals, the
//! end, and how late the thread itself is.

use std::io;
use std::net::Shutdown;

use slotway_net::{Timer, monotonic_ns};

use crate::limits::{LAG_PROBE_NS, SUPERVISION_STEP};
use crate::load::message::Message;
use crate::load::recorder::Interval;
use crate::load::self_watch::Usage;
use crate::load::streams::StreamTally;
use crate::load::thread::Thread;

impl Thread {
    /// Looks after timeouts, intervals and the end, until every place has ended.
    pub(super) async fn supervise(&self, tell: &impl Fn(Message) -> bool) {
        let mut next_interval_ns = self.times.measure_ns + self.times.interval_ns;
        loop {
            let all_ended = self.all_ended.notified();
            let is_over = tokio::time::timeout(SUPERVISION_STEP, all_ended)
                .await
                .is_ok();
            let now_ns = monotonic_ns();
            if now_ns <= self.times.measure_ns {
                self.usage_before.set(Usage::now());
            }
            if is_over {
                self.record_untaken();
            }
            if is_over || now_ns >= next_interval_ns {
                next_interval_ns += self.times.interval_ns;
                let interval =
                    std::mem::replace(&mut *self.interval.borrow_mut(), Box::new(Interval::new()));
                tell(Message::Interval {
                    until_ns: now_ns,
                    interval,
                });
            }
            if is_over {
                return;
            }
            if self.setup.stop.is_requested() && !self.is_stopped.get() {
                self.end_early(now_ns);
            }
            if self.setup.follows_streams && now_ns >= self.end_ns.get() {
                self.shut_down_all();
            }
            self.end_timed_out(now_ns);
        }
    }

    fn end_timed_out(&self, now_ns: u64) {
        let timeout_ns = self.timeout_ns();
        for place in &self.places {
            let sent_ns = place.sent_ns.get();
            if sent_ns > 0 && now_ns.saturating_sub(sent_ns) > timeout_ns {
                place.timed_out.set(true);
                if let Some(stream) = &*place.stream.borrow() {
                    stream.shutdown(Shutdown::Both);
                }
            }
        }
    }

    /// Requests that were due before the end and that nobody has taken.
    fn record_untaken(&self) {
        if let Some(pacer) = &self.pacer {
            let end_ns = self.end_ns.get();
            for (age_ns, count) in pacer.untaken_ages(end_ns.saturating_sub(1)) {
                self.record_waited(end_ns - age_ns, end_ns, count);
            }
        }
    }

    /// What is under way is given up; it counts with the time it has waited.
    fn end_early(&self, now_ns: u64) {
        for place in &self.places {
            if place.sent_ns.get() > 0 && self.is_measured(place.due_ns.get()) {
                self.record_waited(place.due_ns.get(), now_ns, 1);
            }
        }
        self.is_stopped.set(true);
        self.end_ns.set(self.end_ns.get().min(now_ns));
        if let Some(pacer) = &self.pacer {
            pacer.release();
        }
        self.shut_down_all();
    }

    fn shut_down_all(&self) {
        for place in &self.places {
            if let Some(stream) = &*place.stream.borrow() {
                stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// A place's connection is needed no more.
    pub(super) fn note_place_ended(&self) {
        self.live_count.set(self.live_count.get() - 1);
        if self.live_count.get() == 0 {
            self.all_ended.notify_one();
        }
    }

    /// What its event streams got; nothing if it has none.
    pub(super) fn tallies(&self) -> Vec<StreamTally> {
        if !self.setup.follows_streams {
            return Vec::new();
        }
        let tallies = self.places.iter().map(|place| place.tally.take());
        tallies.collect()
    }

    /// The thread asks to be woken now and then: in a closed loop, where nothing
    /// is due at a time, to see how late that is; in an open one so that a stall
    /// shows.
    pub(super) async fn probe_lag(&self) -> io::Result<()> {
        let timer = Timer::new()?;
        loop {
            let due_ns = monotonic_ns() + LAG_PROBE_NS;
            timer.set(due_ns)?;
            timer.rung().await?;
            let now_ns = monotonic_ns();
            self.self_watch.note(now_ns);
            if self.pacer.is_none() && self.is_measured(due_ns) {
                let lag = &mut self.interval.borrow_mut().lag;
                lag.saturating_record(now_ns.saturating_sub(due_ns));
            }
        }
    }
}
