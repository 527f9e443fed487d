//! One thread of the generator: its connections, their loop, and what watches
//! over them.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use slotway_net::{Timer, monotonic_ns};
use tokio::sync::{Notify, oneshot};

use crate::fill::Filler;
use crate::limits::RECONNECT_PAUSE;
use crate::load::connection::{Connection, Failure, Response, Seen};
use crate::load::errors::ErrorKind;
use crate::load::groups::{Groups, record_grown};
use crate::load::message::{Message, Times};
use crate::load::opening::{connect_within, open};
use crate::load::pacer::Pacer;
use crate::load::place::Place;
use crate::load::recorder::Interval;
use crate::load::self_watch::{SelfWatch, Usage};
use crate::load::setup::Setup;
use crate::load::transport::Transport;

/// A thread at work.
pub(super) struct Thread {
    pub(super) setup: Setup,
    pub(super) times: Times,
    pub(super) pacer: Option<Pacer>,
    pub(super) places: Vec<Place>,
    pub(super) sequence_index: Cell<usize>,
    pub(super) filler: Cell<Filler>,
    /// Measured requests still to be sent, where a count ends the run.
    pub(super) left_count: Cell<u64>,
    pub(super) end_ns: Cell<u64>,
    pub(super) is_stopped: Cell<bool>,
    pub(super) unsent_count: Cell<u64>,
    pub(super) last_response_ns: Cell<u64>,
    pub(super) live_count: Cell<usize>,
    pub(super) all_ended: Notify,
    /// The earliest moment at which the next connection may be opened.
    pub(super) next_connect_ns: Cell<u64>,
    pub(super) interval: RefCell<Box<Interval>>,
    /// Of the whole run: to make them anew for each interval would take memory while it is measured.
    pub(super) groups: RefCell<Groups>,
    pub(super) self_watch: SelfWatch,
    /// When measuring began.
    pub(super) usage_before: Cell<Usage>,
}

/// Opens the connections, waits for the start, makes the load, and reports.
/// An error is one of the system's, not of the target.
pub async fn run(
    setup: Setup,
    start: oneshot::Receiver<Times>,
    report: Sender<(usize, Message)>,
) -> io::Result<()> {
    let index = setup.index;
    // Nobody listens any more if the run has been given up.
    let tell = |message| report.send((index, message)).is_ok();
    let mut first = Interval::new();
    let (connections, opened) = open(&setup, &mut first.connect).await;
    tell(Message::Ready(opened));
    let Ok(times) = start.await else {
        return Ok(());
    };
    let pacer = match &setup.schedule {
        Some(schedule) => Some(Pacer::new(
            schedule.clone(),
            setup.index,
            setup.thread_count,
            setup.connection_count,
            setup.spin,
        )?),
        None => None,
    };
    if let Some(pacer) = &pacer {
        pacer.start_at(times.start_ns);
    }
    let thread = Rc::new(Thread::new(setup, times, pacer, &connections, first));
    let helpers = thread.start_helpers();
    let start = Timer::new()?;
    start.set(times.start_ns)?;
    while monotonic_ns() < times.start_ns {
        start.rung().await?;
    }
    for (place_index, transport) in connections.into_iter().enumerate() {
        let connection = transport.map(Connection::new);
        let thread = Rc::clone(&thread);
        if thread.setup.follows_streams {
            tokio::task::spawn_local(thread.follow_stream(place_index, connection));
        } else {
            tokio::task::spawn_local(thread.use_place(place_index, connection));
        }
    }
    thread.supervise(&tell).await;
    for helper in helpers {
        helper.abort();
    }
    let unsent_count = thread.unsent_count.get()
        + thread.pacer.as_ref().map_or(0, |pacer| {
            pacer.untaken_count(thread.end_ns.get().saturating_sub(1))
        });
    tell(Message::Done {
        unsent_count,
        last_response_ns: thread.last_response_ns.get(),
        usage: Usage::now().since(thread.usage_before.get()),
        groups: Box::new(thread.groups.take()),
        tallies: thread.tallies(),
    });
    Ok(())
}

impl Thread {
    fn new(
        setup: Setup,
        times: Times,
        pacer: Option<Pacer>,
        connections: &[Option<Transport>],
        first: Interval,
    ) -> Self {
        let sequence_length = setup.workload.sequence.len();
        Self {
            places: connections
                .iter()
                .map(|opened| Place::new(opened.as_ref().map(|opened| Rc::clone(opened.stream()))))
                .collect(),
            pacer,
            // Threads start at different places of the cycle.
            sequence_index: Cell::new(setup.index * sequence_length / setup.thread_count.max(1)),
            filler: Cell::new(Filler::starting_at(setup.index as u64)),
            left_count: Cell::new(setup.count.unwrap_or(u64::MAX)),
            end_ns: Cell::new(times.end_ns),
            is_stopped: Cell::new(false),
            unsent_count: Cell::new(0),
            last_response_ns: Cell::new(times.measure_ns),
            live_count: Cell::new(connections.len()),
            all_ended: Notify::new(),
            next_connect_ns: Cell::new(0),
            interval: RefCell::new(Box::new(first)),
            groups: RefCell::default(),
            self_watch: SelfWatch::default(),
            usage_before: Cell::new(Usage::now()),
            times,
            setup,
        }
    }

    /// Starts what goes on beside the connections.
    fn start_helpers(self: &Rc<Self>) -> Vec<tokio::task::AbortHandle> {
        let mut helpers = Vec::new();
        let watched = Rc::clone(self);
        helpers.push(
            tokio::task::spawn_local(async move {
                match &watched.pacer {
                    Some(pacer) if !watched.setup.spin => pacer.ring().await,
                    _ => std::future::pending().await,
                }
            })
            .abort_handle(),
        );
        let watched = Rc::clone(self);
        helpers.push(
            tokio::task::spawn_local(async move { watched.probe_lag().await }).abort_handle(),
        );
        if self.setup.spin {
            let spinning = Rc::clone(self);
            let spinning: tokio::task::JoinHandle<()> = tokio::task::spawn_local(async move {
                loop {
                    if let Some(pacer) = &spinning.pacer {
                        pacer.wake_due();
                    }
                    tokio::task::yield_now().await;
                }
            });
            helpers.push(spinning.abort_handle());
        }
        helpers
    }

    /// Sends one request after the other over one connection at a time.
    async fn use_place(self: Rc<Self>, index: usize, mut connection: Option<Connection>) {
        let place = &self.places[index];
        let mut sent_count = 0_u64;
        let mut now_ns = monotonic_ns();
        while let Some(mut due_ns) = self.next_due(&mut now_ns).await {
            let current = match &mut connection {
                Some(current) => current,
                None => match self.setup.unless_stopped(self.reconnect(place)).await {
                    Some(Ok(fresh)) => {
                        sent_count = 0;
                        now_ns = monotonic_ns();
                        if self.pacer.is_none() {
                            due_ns = now_ns;
                        }
                        if now_ns >= self.end_ns.get() {
                            self.note_unsent(due_ns);
                            break;
                        }
                        connection.insert(fresh)
                    }
                    Some(Err(kind)) => {
                        self.record_error(due_ns, kind, None);
                        let pause = tokio::time::sleep(RECONNECT_PAUSE);
                        self.setup.unless_stopped(pause).await;
                        now_ns = monotonic_ns();
                        continue;
                    }
                    None => {
                        self.note_unsent(due_ns);
                        break;
                    }
                },
            };
            let workload = &*self.setup.workload;
            let request = self.next_request();
            place.due_ns.set(due_ns);
            place.sent_ns.set(now_ns);
            let outcome = current
                .exchange(&workload.requests[request], &self.next_filler(), workload)
                .await;
            let sent_ns = place.sent_ns.replace(0);
            now_ns = monotonic_ns();
            self.self_watch.note(now_ns);
            sent_count += 1;
            let is_late = place.timed_out.replace(false) || now_ns - sent_ns > self.timeout_ns();
            let keep_alive = match outcome {
                _ if is_late => {
                    self.record_error(due_ns, ErrorKind::Timeout, None);
                    false
                }
                Ok(response) => {
                    self.record(request, (due_ns, sent_ns, now_ns), &response);
                    response.keep_alive
                }
                Err(Failure {
                    kind,
                    keep_alive,
                    seen,
                }) => {
                    self.record_error(due_ns, kind, seen);
                    keep_alive
                }
            };
            let is_used_up =
                (self.setup.requests_per_connection).is_some_and(|most| sent_count >= most);
            if !keep_alive || is_used_up {
                connection = None;
                place.stream.take();
            }
        }
        self.note_place_ended();
    }

    /// Waits until the next request is to be sent, and returns its intended
    /// time; `now_ns` is the time then. `None` at the end of the run.
    async fn next_due(&self, now_ns: &mut u64) -> Option<u64> {
        let Some(pacer) = &self.pacer else {
            if *now_ns >= self.end_ns.get() {
                return None;
            }
            if *now_ns >= self.times.measure_ns {
                self.left_count.set(self.left_count.get().checked_sub(1)?);
            }
            return Some(*now_ns);
        };
        if self.is_stopped.get() {
            return None;
        }
        let due_ns = pacer.take()?;
        let woken_ns = pacer.wait(due_ns).await;
        *now_ns = monotonic_ns();
        self.self_watch.note(*now_ns);
        if self.is_stopped.get() && *now_ns < due_ns {
            return None;
        }
        if self.is_measured(due_ns) {
            // A ticket that was overdue had no free connection: only a stall of
            // the generator's own is its fault.
            let lag_ns = match woken_ns {
                Some(woken_ns) => woken_ns.saturating_sub(due_ns),
                None => self.self_watch.stalled_ns(due_ns, *now_ns),
            };
            self.interval.borrow_mut().lag.saturating_record(lag_ns);
        }
        if *now_ns >= self.end_ns.get() {
            self.note_unsent(due_ns);
            return None;
        }
        Some(due_ns)
    }

    /// A request was due and is not sent: it counts with the time it has waited,
    /// since leaving it out would flatter the target.
    fn note_unsent(&self, due_ns: u64) {
        if self.pacer.is_some() {
            self.unsent_count.set(self.unsent_count.get() + 1);
            self.record_waited(due_ns, self.end_ns.get(), 1);
        }
    }

    pub(super) fn record_waited(&self, due_ns: u64, until_ns: u64, count: u64) {
        if due_ns >= self.times.measure_ns {
            let mut interval = self.interval.borrow_mut();
            interval
                .latency
                .saturating_record_n(until_ns.saturating_sub(due_ns), count);
            interval.waited_count += count;
        }
    }

    pub(super) fn timeout_ns(&self) -> u64 {
        self.setup.timeout.as_nanos() as u64
    }

    pub(super) fn next_request(&self) -> usize {
        let sequence = &self.setup.workload.sequence;
        let index = self.sequence_index.get();
        self.sequence_index.set(if index + 1 == sequence.len() {
            0
        } else {
            index + 1
        });
        usize::from(sequence[index])
    }

    /// Over all threads, no two requests have the same.
    pub(super) fn next_filler(&self) -> Filler {
        let filler = self.filler.get();
        self.filler.set(Filler {
            sequence: filler.sequence + self.setup.thread_count as u64,
            ..filler
        });
        filler
    }

    pub(super) async fn reconnect(&self, place: &Place) -> Result<Connection, ErrorKind> {
        if let Some(rate) = self.setup.connect_rate {
            let now_ns = monotonic_ns();
            let turn_ns = self.next_connect_ns.get().max(now_ns);
            self.next_connect_ns.set(turn_ns + (1e9 / rate) as u64);
            tokio::time::sleep(Duration::from_nanos(turn_ns - now_ns)).await;
        }
        let start_ns = monotonic_ns();
        let transport = connect_within(&self.setup)
            .await
            .map_err(|(kind, _)| kind)?;
        record_grown(
            &mut self.interval.borrow_mut().connect,
            monotonic_ns() - start_ns,
        );
        place.stream.replace(Some(Rc::clone(transport.stream())));
        Ok(Connection::new(transport))
    }

    pub(super) fn is_measured(&self, due_ns: u64) -> bool {
        due_ns >= self.times.measure_ns && due_ns < self.end_ns.get()
    }

    fn record(
        &self,
        request: usize,
        (due_ns, sent_ns, responded_ns): (u64, u64, u64),
        response: &Response,
    ) {
        if self.is_stopped.get() {
            return;
        }
        let is_timed = self.times.end_ns < u64::MAX;
        // What comes within the time measured is throughput, whenever it was
        // asked for; what was asked for then has its latency counted.
        if self.pacer.is_none()
            && is_timed
            && (self.times.measure_ns..=self.times.end_ns).contains(&responded_ns)
        {
            self.interval.borrow_mut().response_count += 1;
        }
        if !self.is_measured(due_ns) {
            return;
        }
        let mut interval = self.interval.borrow_mut();
        interval.latency.saturating_record(responded_ns - due_ns);
        interval.note(response.seen);
        let mut groups = self.groups.borrow_mut();
        groups.note_status(response.seen.status, responded_ns - due_ns);
        if self.setup.workload.requests.len() > 1 {
            groups.note_request(request, responded_ns - due_ns);
        }
        if self.pacer.is_some() {
            interval.service.saturating_record(responded_ns - sent_ns);
        }
        if let Some(phases) = &response.phases {
            interval.record_phases(phases);
        }
        if self.pacer.is_some() || !is_timed {
            interval.response_count += 1;
        }
        self.last_response_ns.set(responded_ns);
    }

    pub(super) fn record_error(&self, due_ns: u64, kind: ErrorKind, seen: Option<Seen>) {
        if self.is_measured(due_ns) && !self.is_stopped.get() {
            let mut interval = self.interval.borrow_mut();
            interval.errors.add(kind);
            if let Some(seen) = seen {
                interval.note(seen);
                let mut groups = self.groups.borrow_mut();
                groups.note_status(seen.status, monotonic_ns() - due_ns);
            }
            self.last_response_ns.set(monotonic_ns());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slotway_net::Engine;

    use super::*;
    use crate::echo::Echo;
    use crate::load::plan::Stop;
    use crate::schedule::{Rate, Schedule};
    use crate::workload::{Expected, Template, Workload};

    /// Allocations of a thread that sends `count` requests.
    fn allocations(engine: Engine, count: u64, schedule: Option<Schedule>) -> u64 {
        let echo = Echo::start(None).unwrap();
        let url = format!("http://{}/", echo.address());
        let template = Template {
            method: "GET".to_owned(),
            ..Template::default()
        };
        let workload = Workload::of_url(&url, &template, Expected::default()).unwrap();
        let setup = Setup {
            index: 0,
            thread_count: 1,
            engine,
            workload: Arc::new(workload),
            connection_count: 4,
            connect_rate: None,
            requests_per_connection: None,
            schedule,
            count: Some(count),
            timeout: Duration::from_secs(10),
            spin: false,
            follows_streams: false,
            stop: Arc::new(Stop::default()),
            give_up: Arc::new(Stop::default()),
        };
        let now_ns = monotonic_ns();
        let times = Times {
            start_ns: now_ns,
            measure_ns: now_ns,
            end_ns: u64::MAX,
            interval_ns: 60_000_000_000,
        };
        let (start, started) = oneshot::channel();
        let (report, messages) = std::sync::mpsc::channel();
        assert!(start.send(times).is_ok());
        let counted = allocation_counter::measure(|| {
            slotway_net::run(engine, run(setup, started, report))
                .unwrap()
                .unwrap();
        });
        let answered: u64 = messages
            .iter()
            .map(|(_, message)| match message {
                Message::Interval { interval, .. } => interval.response_count,
                _ => 0,
            })
            .sum();
        assert_eq!(answered, count, "{engine}");
        counted.count_total
    }

    #[test]
    fn a_request_allocates_nothing_in_either_loop_on_either_engine() {
        let open = |count| {
            let rate = Rate::parse("20000").unwrap();
            Some(Schedule::new(&rate, Duration::ZERO, 1e6, Some(count)))
        };
        for engine in Engine::ALL {
            for schedule_of in [|_| None, open as fn(u64) -> Option<Schedule>] {
                let few = allocations(engine, 2_000, schedule_of(2_000));
                let many = allocations(engine, 6_000, schedule_of(6_000));
                // A supervision step, each 10 ms, may allocate a timer's entry.
                assert!(many < few + 400, "{engine}: {few}, then {many}");
            }
        }
    }
}
