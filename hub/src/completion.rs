//! The task that takes a lane's completions and sleeps when there are none.

use std::os::fd::AsFd;
use std::rc::Rc;

use crate::lane::{Lane, LaneEnd, Violation};
use crate::net::Bell;
use crate::reactor::Reactor;

/// Runs until the lane ends.
pub async fn run(reactor: Rc<Reactor>, lane: Rc<Lane>) {
    if let Err(violation) = serve(&reactor, &lane).await {
        reactor.report_violation(&lane, violation);
    }
}

async fn serve(reactor: &Rc<Reactor>, lane: &Rc<Lane>) -> Result<(), Violation> {
    let eventfd = &lane.session.eventfds[reactor.index as usize];
    let mut bell = eventfd
        .as_fd()
        .try_clone_to_owned()
        .and_then(Bell::new)
        .map_err(|_| Violation::Bell)?;
    while lane.end().is_none() {
        if lane.drain()? > 0 {
            reactor.after_drain_step(lane);
        }
        lane.sleep_epoch().announce();
        // The second look, without which a completion published between the
        // first and the announcement would wait for the next.
        if !lane.has_completions() && lane.end().is_none() {
            bell.rung().await.map_err(|_| Violation::Bell)?;
        }
        lane.sleep_epoch().awake();
    }
    // Completions that came before the end still count.
    if matches!(lane.end(), Some(LaneEnd::WorkerGone)) {
        lane.drain()?;
    }
    Ok(())
}
