//! Taking a lane's completions: when the worker rings, and by itself at the
//! end of a turn in which the lane was given requests.

use std::os::fd::AsFd;
use std::rc::Rc;

use crate::lanes::lane::{Lane, Violation};
use crate::reactor::Reactor;
use slotway_net::Bell;

/// A panic at what one worker has written ends its session, and nothing else.
struct EvictOnPanic {
    reactor: Rc<Reactor>,
    lane: Rc<Lane>,
}

impl Drop for EvictOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.reactor.report_violation(&self.lane, Violation::Panic);
        }
    }
}

/// Runs until the lane ends.
pub async fn run(reactor: Rc<Reactor>, lane: Rc<Lane>) {
    let _guard = EvictOnPanic {
        reactor: Rc::clone(&reactor),
        lane: Rc::clone(&lane),
    };
    match serve(&reactor, &lane).await {
        Ok(()) => {}
        Err(End::Violation(violation)) => reactor.report_violation(&lane, violation),
        Err(End::NoBell) => reactor.report_no_resources(&lane),
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

async fn serve(reactor: &Rc<Reactor>, lane: &Rc<Lane>) -> Result<(), End> {
    let eventfd = &lane.session.eventfds[reactor.index as usize];
    let bell = eventfd
        .as_fd()
        .try_clone_to_owned()
        .and_then(Bell::new)
        .map_err(|_| End::NoBell)?;
    while !lane.is_over() {
        take(reactor, lane)?;
        tokio::select! {
            rung = bell.rung() => rung.map_err(|_| End::NoBell)?,
            () = lane.ended.notified() => {}
        }
    }
    Ok(())
}

/// Takes what there is, and leaves the lane asleep.
pub fn take(reactor: &Rc<Reactor>, lane: &Lane) -> Result<(), Violation> {
    lane.stay_awake();
    lane.drain()?;
    lane.fall_asleep()?;
    reactor.after_drain_step(lane);
    Ok(())
}
