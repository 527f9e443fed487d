//! A thread's event streams: each connection opens one and follows it to the end of the run.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use slotway_net::monotonic_ns;

use super::connection::{Connection, Failure};
use super::errors::ErrorKind;
use super::event_reader::{Event, EventReader};
use super::place::Place;
use super::streams::StreamTally;
use super::thread::Thread;
use crate::limits::RECONNECT_PAUSE;

impl Thread {
    /// Follows a stream, and opens it again, as browsers do, when it ends.
    pub(super) async fn follow_stream(
        self: Rc<Self>,
        index: usize,
        mut connection: Option<Connection>,
    ) {
        let place = &self.places[index];
        while monotonic_ns() < self.end_ns.get() && !self.is_stopped.get() {
            let current = match &mut connection {
                Some(current) => current,
                None => match self.setup.unless_stopped(self.reconnect(place)).await {
                    Some(Ok(fresh)) => connection.insert(fresh),
                    Some(Err(kind)) => {
                        self.record_error(monotonic_ns(), kind, None);
                        self.pause().await;
                        continue;
                    }
                    None => break,
                },
            };
            let kind = self.follow(current, place).await;
            connection = None;
            place.stream.take();
            place.sent_ns.set(0);
            let now_ns = monotonic_ns();
            if now_ns < self.end_ns.get() && !self.is_stopped.get() {
                let kind = if place.timed_out.replace(false) {
                    ErrorKind::Timeout
                } else {
                    kind
                };
                self.record_error(now_ns, kind, None);
                if self.is_measured(now_ns) {
                    place.tally.borrow_mut().end_count += 1;
                }
                self.pause().await;
            }
        }
        self.note_place_ended();
    }

    /// Follows a stream to its end, and says why it ended.
    async fn follow(&self, connection: &mut Connection, place: &Place) -> ErrorKind {
        let workload = &*self.setup.workload;
        let request = &workload.requests[self.next_request()];
        // Until the head is there, it is a request that can take too long.
        place.sent_ns.set(monotonic_ns());
        let filler = self.next_filler();
        let head = match connection.begin(request, &filler, workload).await {
            Ok(head) => head,
            Err(failure) => return failure.kind,
        };
        place.sent_ns.set(0);
        self.interval.borrow_mut().statuses.add(head.status, 1);
        if head.status != workload.expected.status.unwrap_or(200) {
            return ErrorKind::Status(head.status);
        }
        if !head.is_event_stream {
            return ErrorKind::NoEventStream;
        }
        let mut reader = EventReader::default();
        let followed = connection.read_body(head.framing, |piece| {
            let now_ns = monotonic_ns();
            self.self_watch.note(now_ns);
            if !self.is_measured(now_ns) || self.is_stopped.get() {
                reader.add(piece, 0, |_| {});
                return;
            }
            let since_1970 = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let unix_ns = since_1970.as_nanos() as u64;
            self.interval.borrow_mut().received_bytes += piece.len() as u64;
            reader.add(piece, unix_ns, |event| {
                self.record_event(place, event, unix_ns);
            });
            self.last_response_ns.set(now_ns);
        });
        match followed.await {
            Ok(()) => ErrorKind::StreamEnded,
            Err(Failure { kind, .. }) => kind,
        }
    }

    fn record_event(&self, place: &Place, event: Event, unix_ns: u64) {
        let mut interval = self.interval.borrow_mut();
        interval.response_count += 1;
        let mut tally = place.tally.borrow_mut();
        let StreamTally {
            event_count,
            stamped_count,
            early_count,
            early_ns,
            ..
        } = &mut *tally;
        *event_count += 1;
        if let Some(sent_ns) = event.sent_unix_ns {
            *stamped_count += 1;
            if sent_ns > unix_ns {
                *early_count += 1;
                *early_ns = (*early_ns).max(sent_ns - unix_ns);
            }
            interval
                .latency
                .saturating_record(unix_ns.saturating_sub(sent_ns));
        }
    }

    async fn pause(&self) {
        let pause = tokio::time::sleep(RECONNECT_PAUSE);
        self.setup.unless_stopped(pause).await;
    }
}
