//! A request that waits in its route's queue until a slot is free, its client has
//! left, or its deadline has passed.

use std::time::Duration;

use slotway_net::Hangup;

use crate::clock;
use crate::connection::Connection;
use crate::local_answer::LocalAnswer;
use crate::request::Instead;
use crate::session::RouteSpec;
use crate::shared::Counters;
use crate::wait_room::Place;

impl Connection {
    /// Waits until it is worth trying to reserve a slot for the route. `place` is
    /// kept between tries.
    pub(crate) async fn wait_for_slot(
        &mut self,
        route: &RouteSpec,
        place: &mut Option<Place>,
    ) -> Result<(), Instead> {
        // A new table may give the request another route.
        let place = match place.take_if(|place| place.route() == route) {
            Some(kept) => place.insert(kept),
            None => place.insert(self.enter_queue(route)?),
        };
        let left_ms = self.deadline_ms.saturating_sub(clock::coarse_ms());
        let deadline = tokio::time::sleep(Duration::from_millis(left_ms));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                hangup = self.state.hangup() => self.after_hangup(hangup)?,
                () = place.granted() => return Ok(()),
                () = &mut deadline => {
                    Counters::add(&self.reactor.shared.counters.queue_timed_out);
                    return Err(overloaded("no slot of the route's workers came free in time").into());
                }
            }
        }
    }

    fn enter_queue(&self, route: &RouteSpec) -> Result<Place, LocalAnswer> {
        let place = self.reactor.wait_room.enter(route).ok_or_else(|| {
            Counters::add(&self.reactor.shared.counters.queue_full);
            overloaded("every slot of the route's workers is in use, and its queue is full")
        })?;
        Counters::add(&self.reactor.shared.counters.queued);
        self.reactor.lookout.begin(&self.state);
        self.reactor.lookout.watch_now(&self.state);
        Ok(place)
    }

    /// What follows from a client's hangup while its request waits. One that has
    /// closed its side may still want the answer: an interim response, which it may
    /// get at any time (RFC 9110 section 15.2), makes TCP say whether it is there.
    pub(crate) fn after_hangup(&self, hangup: Hangup) -> Result<(), Instead> {
        match hangup {
            Hangup::Gone => {
                Counters::add(&self.reactor.shared.counters.client_left);
                Err(Instead::ClientGone)
            }
            // That has no interim responses.
            Hangup::Half if self.head.http_1_0 => Ok(()),
            Hangup::Half => {
                self.stream.probe(b"HTTP/1.1 100 Continue\r\n\r\n");
                Ok(())
            }
        }
    }
}

fn overloaded(why: &str) -> LocalAnswer {
    LocalAnswer::error(503, why).with("Retry-After", "1")
}
