//! Taking a lane's completions: when the worker rings, and by itself at the end of a turn
//! in which the lane was given requests.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slotway_net::{Bell, monotonic_ns};

use super::lanes::Lanes;
use crate::clock;
use crate::lanes::lane::Lane;
use crate::lanes::violation::Violation;
use crate::limits::{SWEEP_INTERVAL, YIELD_PAUSE, YIELD_TIME_MAX};
use crate::shared::counters::Counters;
use crate::shared::message::ControlMessage;

/// A panic at what one worker has written ends its session, and nothing else.
struct EvictOnPanic {
    lanes: Rc<Lanes>,
    lane: Rc<Lane>,
}

impl Drop for EvictOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lanes.report_violation(&self.lane, Violation::Panic);
        }
    }
}

/// Takes one lane's completions until it ends.
pub async fn run(lanes: Rc<Lanes>, lane: Rc<Lane>) {
    let _guard = EvictOnPanic {
        lanes: Rc::clone(&lanes),
        lane: Rc::clone(&lane),
    };
    match serve(&lanes, &lane).await {
        Ok(()) => {}
        Err(End::Violation(violation)) => lanes.report_violation(&lane, violation),
        Err(End::NoBell) => lanes.report_no_resources(&lane),
    }
}

/// Why a lane's completions cannot be taken any more.
enum End {
    Violation(Violation),
    /// Its eventfd cannot be waited on.
    NoBell,
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

async fn serve(lanes: &Lanes, lane: &Lane) -> Result<(), End> {
    let eventfd = &lane.session.eventfds[lanes.index as usize];
    let bell = Bell::new(Arc::clone(eventfd)).map_err(|_| End::NoBell)?;
    while !lane.is_over() {
        take(lanes, lane)?;
        tokio::select! {
            rung = bell.rung() => rung.map_err(|_| End::NoBell)?,
            () = lane.ended.notified() => {}
        }
    }
    Ok(())
}

/// Takes what there is, and leaves the lane asleep.
fn take(lanes: &Lanes, lane: &Lane) -> Result<(), Violation> {
    lane.stay_awake();
    lane.drain()?;
    lane.fall_asleep()?;
    lanes.note_progress(lane);
    Ok(())
}

fn take_or_report(lanes: &Lanes, lane: &Lane) {
    if let Err(violation) = take(lanes, lane) {
        lanes.report_violation(lane, violation);
    }
}

/// Leaves the core to workers, unless others take it instead: a worker says by itself that it is
/// kept to this core.
#[derive(Default)]
struct Yields {
    not_before_ns: u64,
}

impl Yields {
    fn leave_core(&mut self) {
        let start_ns = monotonic_ns();
        if start_ns < self.not_before_ns {
            return;
        }
        rustix::thread::sched_yield();
        let end_ns = monotonic_ns();
        if end_ns - start_ns > YIELD_TIME_MAX.as_nanos() as u64 {
            self.not_before_ns = end_ns + YIELD_PAUSE.as_nanos() as u64;
        }
    }
}

/// Rings each marked lane once a turn; never ends.
pub async fn ring_marked(lanes: Rc<Lanes>) {
    let mut batch = Vec::new();
    let mut yields = Yields::default();
    loop {
        poll_fn(|cx| lanes.poll_marked(cx)).await;
        lanes.take_marked(&mut batch);
        let mut must_yield = false;
        for lane in &batch {
            lane.marked.set(false);
            lane.stay_awake();
            must_yield |= lane.ring_bells();
        }
        // Who was woken and is kept to this core runs now and finds the reactor awake: it need
        // not ring back, and the reactor need not fall asleep (measured at one connection: a
        // seventh less processor time for each request, 4 µs less at the median).
        if must_yield {
            yields.leave_core();
        }
        // A worker that was woken on this core has often taken its turn before the ring
        // returned: then it need not ring back.
        for lane in batch.drain(..) {
            take_or_report(&lanes, &lane);
        }
    }
}

/// Looks after deadlines and wakes that got lost, while requests are in flight; never
/// ends.
pub async fn sweep(lanes: Rc<Lanes>) {
    loop {
        let busy = lanes.busy();
        if busy.is_empty() {
            lanes.sweeper_needed().await;
            continue;
        }
        let now_ms = clock::coarse_ms();
        let earliest = busy.iter().filter_map(|lane| lane.expire(now_ms)).min();
        for lane in &busy {
            if !lane.is_over() && lane.is_hanging(now_ms) {
                let message = ControlMessage::TooManyUnanswered(lane.session.id);
                lanes.shared.tell_control(message);
            }
            make_room_for_streams(&lanes, lane, now_ms);
            if lane.rescue_lost_wake(now_ms) {
                Counters::add(&lanes.shared.counters.lost_wakes);
                tracing::error!(worker = lane.session.name, "a wake-up of the hub was lost");
                take_or_report(&lanes, lane);
            }
        }
        // The lanes' memory must not wait for the next look.
        drop(busy);
        let wait = earliest.map_or(SWEEP_INTERVAL, |ms| {
            Duration::from_millis(ms.saturating_sub(now_ms).max(1))
        });
        tokio::time::sleep(wait.min(SWEEP_INTERVAL)).await;
    }
}

/// Ends a client that is slow when others wait for its place.
fn make_room_for_streams(lanes: &Lanes, lane: &Lane, now_ms: u64) {
    let streams = lane.streams();
    streams.sample(now_ms);
    if lanes.stream_queue.count_for(&lane.session.routes) > 0 {
        streams.make_room(now_ms);
    }
}
