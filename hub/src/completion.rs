//! Taking a lane's completions: when the worker rings, and by itself at the
//! end of a turn in which the lane was given requests.

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
        take(reactor, lane)?;
        bell.rung().await.map_err(|_| Violation::Bell)?;
    }
    // Completions that came before the end still count.
    if matches!(lane.end(), Some(LaneEnd::WorkerGone)) {
        lane.drain()?;
    }
    Ok(())
}

/// Takes what there is, and leaves the lane asleep.
pub fn take(reactor: &Rc<Reactor>, lane: &Lane) -> Result<(), Violation> {
    lane.stay_awake();
    if lane.drain()? > 0 {
        reactor.after_drain_step(lane);
    }
    lane.fall_asleep()
}
