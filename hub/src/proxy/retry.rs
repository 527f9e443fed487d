//! A request whose worker went away before it began with it goes to another
//! worker of the same route. Whether it had begun is settled between the two by
//! [`slotway_shm_proto::taking`]; a request that may have been begun with is handed on
//! only where its method is safe (RFC 9110 section 9.2.1) and its route says that it
//! may run twice.

use std::rc::Rc;

use slotway_shm_proto::Method;

use crate::front::connection::Connection;
use crate::front::request::{Instead, Need, least_loaded};
use crate::lanes::exchange::Exchange;
use crate::routing::registration::RouteSpec;
use crate::shared::counters::Counters;

impl Connection {
    /// The request in the hands of another worker; else 502. A body that streams
    /// is not kept, so its request cannot be handed on.
    pub(crate) async fn hand_on(&mut self, gone: &Exchange) -> Result<Exchange, Instead> {
        let head = gone.own_head();
        let session = &gone.lane().session;
        let route_index = head.route_index as usize;
        let was_begun = !gone.give_up();
        let may_repeat = !self.is_repeated
            && session.options[route_index].may_repeat
            && self.head.method.is_some_and(Method::is_safe);
        if (was_begun && !may_repeat) || head.body_ring_bytes > 0 {
            return Err(self.worker_gone().into());
        }
        // Once: a request that crashes its worker must not go on to crash them all.
        self.is_repeated |= was_begun;
        let route = session.routes[route_index].clone();
        let mut place = None;
        loop {
            if let Some(exchange) = self.try_hand_on(gone, &route)? {
                Counters::add(&self.reactor.shared.counters.handed_on);
                return Ok(exchange);
            }
            self.wait_for(Need::Slot, &route, &mut place).await?;
        }
    }

    /// `None`: there is another worker, but no slot of it is free.
    fn try_hand_on(
        &mut self,
        gone: &Exchange,
        route: &RouteSpec,
    ) -> Result<Option<Exchange>, Instead> {
        let reactor = Rc::clone(&self.reactor);
        reactor.with_routes(|table| {
            let targets = table.targets_of(route);
            let found = least_loaded(targets, |target| reactor.lane(&target.session));
            let (lane, route_index) = found.ok_or_else(|| self.worker_gone())?;
            let Some(exchange) = lane.reserve() else {
                return Ok(None);
            };
            gone.copy_request_to(&exchange, route_index, &mut self.scratch);
            exchange.submit(self.deadline_ms);
            reactor.mark(&lane);
            Ok(Some(exchange))
        })
    }
}
