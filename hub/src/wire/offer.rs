//! A request by which a client offers to speak another protocol, until it is known what becomes of
//! that: a worker that takes it up waits for the client's connection, and must not wait in vain.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use slotway_shm_proto::upgrade::{HandOver, SlotUse};

use crate::lanes::slot::Kept;
use crate::limits::{HAND_OVER_PAUSE, HAND_OVER_TIME};
use crate::routing::session::Session;

/// Which worker may take it up, in which use of a slot.
#[derive(Debug)]
pub struct Offer {
    session: RefCell<Arc<Session>>,
    slot: Cell<SlotUse>,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The worker has not answered, as far as is known.
    Open,
    /// It has taken it up, and is to be told what becomes of that.
    TakenUp,
    /// It has been told, or does not wait for that.
    Settled,
}

/// Kept with a slot: when that is free, the worker has said all that it has to say of the request, and
/// is told that no connection comes if nobody has told it anything.
#[derive(Debug)]
struct Guard {
    offer: Rc<Offer>,
    _kept: Option<Kept>,
}

impl Offer {
    /// Of a request that goes to a worker; `kept` is what is kept with its slot already.
    pub fn watch(session: &Arc<Session>, slot: SlotUse, kept: Option<Kept>) -> (Rc<Self>, Kept) {
        let offer = Rc::new(Self {
            session: RefCell::new(Arc::clone(session)),
            slot: Cell::new(slot),
            state: Cell::new(State::Open),
        });
        let guard = Guard {
            offer: Rc::clone(&offer),
            _kept: kept,
        };
        (offer, Box::new(guard))
    }

    /// Another worker has the request now.
    pub fn move_to(&self, session: &Arc<Session>, slot: SlotUse) {
        *self.session.borrow_mut() = Arc::clone(session);
        self.slot.set(slot);
    }

    /// The worker has taken it up: who says so tells it what becomes of that.
    pub fn take_up(&self) {
        self.state.set(State::TakenUp);
    }

    /// There is nothing to tell any more.
    pub fn settle(&self) {
        self.state.set(State::Settled);
    }

    /// What the worker is told.
    pub fn message<'b>(&self, has_socket: bool, first_bytes: &'b [u8]) -> HandOver<'b> {
        HandOver {
            slot: self.slot.get(),
            has_socket,
            first_bytes,
        }
    }

    /// Tells the worker that the connection does not come, unless it has been told something. One that
    /// does not read just now is told later.
    pub fn call_off(&self) {
        let session = Arc::clone(&self.session.borrow());
        let is_told = self.state.replace(State::Settled) == State::Settled;
        if is_told || session.upgrades.call_off(self.message(false, &[])) {
            return;
        }
        let message = self.message(false, &[]);
        // The last slots go when the reactor has ended, and then the session ends as well.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        // Who does not read for so long has more to lose than this.
        runtime.spawn(async move {
            let mut waited = Duration::ZERO;
            while waited < HAND_OVER_TIME && !session.upgrades.call_off(message) {
                tokio::time::sleep(HAND_OVER_PAUSE).await;
                waited += HAND_OVER_PAUSE;
            }
        });
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.offer.state.get() == State::Open {
            self.offer.call_off();
        }
    }
}
