//! A request that waits in its route's queue until a slot is free, its client has
//! left, or its deadline has passed.

use std::rc::Rc;
use std::time::Duration;

use slotway_net::{Hangup, LocalPeer, Peer};

use crate::clock;
use crate::front::connection::Connection;
use crate::front::request::{Instead, Need};
use crate::http::local_reply::LocalReply;
use crate::lanes::exchange::Exchange;
use crate::lanes::queue::{Place, WaitRoom};
use crate::routing::registration::RouteSpec;
use crate::shared::counters::Counters;

impl Connection {
    /// Waits until it is worth trying to get what the request needs of the route's
    /// workers. `place` is kept between tries.
    pub(crate) async fn wait_for(
        &mut self,
        need: Need,
        route: &RouteSpec,
        place: &mut Option<Place>,
    ) -> Result<(), Instead> {
        let room = match need {
            Need::Slot => Rc::clone(&self.reactor.wait_room),
            Need::Stream => Rc::clone(&self.reactor.stream_room),
        };
        // A new table may give the request another route.
        let place = match place.take_if(|place| place.is_in(&room, route)) {
            Some(kept) => place.insert(kept),
            None => place.insert(self.enter_queue(&room, route)?),
        };
        let left_ms = self.deadline_ms.saturating_sub(clock::coarse_ms());
        let deadline = tokio::time::sleep(Duration::from_millis(left_ms));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                hangup = self.state.hangup() => {
                    self.after_hangup(hangup)?;
                }
                () = place.granted() => return Ok(()),
                () = &mut deadline => {
                    Counters::add(&self.reactor.shared.counters.queue_timed_out);
                    return Err(overloaded("no slot of the route's workers came free in time").into());
                }
            }
        }
    }

    fn enter_queue(&self, room: &Rc<WaitRoom>, route: &RouteSpec) -> Result<Place, LocalReply> {
        let place = room.enter(route).ok_or_else(|| {
            Counters::add(&self.reactor.shared.counters.queue_full);
            overloaded("every slot of the route's workers is in use, and its queue is full")
        })?;
        Counters::add(&self.reactor.shared.counters.queued);
        self.reactor.lookout.begin(&self.state);
        self.reactor.lookout.watch_now(&self.state);
        Ok(place)
    }

    /// What follows from a client's hangup while its request waits. One that has closed
    /// its side alone still wants the answer, and most that have are gone: TCP does not
    /// say which until it is sent something, and there is nothing to send yet. Of a client
    /// on this host the system knows. That of another goes on, and its handler is told
    /// that the answer is perhaps unwanted.
    pub(crate) fn after_hangup(&mut self, hangup: Hangup) -> Result<(), Instead> {
        let is_gone = match hangup {
            Hangup::Gone => Some(true),
            Hangup::Half => self.has_client_closed(),
        };
        match is_gone {
            Some(true) => {
                Counters::add(&self.reactor.shared.counters.client_left);
                return Err(Instead::ClientGone);
            }
            Some(false) => {}
            None => self.client_closed = true,
        }
        Ok(())
    }

    /// Whether a client that has closed its side has closed all of the connection; `None`
    /// if that cannot be known.
    fn has_client_closed(&self) -> Option<bool> {
        match self.peer {
            // These say so at once.
            Peer::Unix => Some(false),
            Peer::Tcp(_) => self.local_peer().map(|peer| peer.is_closed),
        }
    }

    /// The client's socket, if it is one of this host.
    pub(crate) fn local_peer(&self) -> Option<LocalPeer> {
        let Peer::Tcp(peer) = self.peer else {
            return None;
        };
        let local = self.stream.local_address()?;
        self.reactor.local_peers.as_ref()?.find(local, peer)
    }

    /// Tells the worker that has the request now that its client has closed its side, if
    /// it has.
    pub(crate) fn tell_if_closed(&self, exchange: &Exchange) {
        if self.client_closed && exchange.tell_client_closed() {
            self.reactor.mark(exchange.lane());
        }
    }
}

pub(crate) fn overloaded(why: &str) -> LocalReply {
    LocalReply::error(503, why).with("Retry-After", "1")
}
