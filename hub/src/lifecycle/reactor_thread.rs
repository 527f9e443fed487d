//! The thread of one reactor: its engine, its tasks, and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_setaffinity};
use slotway_net::{Engine, Listener, run};
use tokio::sync::{mpsc, oneshot};

use super::error::StartError;
use crate::access_log::producer::AccessLog;
use crate::front::door::Door;
use crate::front::listener;
use crate::reactor::Reactor;
use crate::shared::Shared;
use crate::shared::inspection::Inspection;

/// A reactor, and what is done once its thread has come to its end.
pub struct ReactorThread {
    /// It.
    pub thread: JoinHandle<()>,
    /// Told at its end.
    pub ended: oneshot::Receiver<()>,
}

/// What a reactor has of its own.
pub struct ReactorParts {
    /// Clients.
    pub clients: Vec<OwnedFd>,
    /// Who operates the hub.
    pub operations: Vec<OwnedFd>,
    /// Where it puts what the access log is to have.
    pub access_log: Option<AccessLog>,
}

/// Starts a reactor and waits until its engine runs.
pub fn start_reactor(
    engine: Engine,
    index: u32,
    shared: Arc<Shared>,
    parts: ReactorParts,
    questions: mpsc::UnboundedReceiver<Inspection>,
) -> Result<ReactorThread, StartError> {
    let (end, ended) = oneshot::channel();
    let (started, has_started) = std::sync::mpsc::channel();
    let whole = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name(format!("reactor-{index}"))
        .spawn(move || {
            // Told by being dropped, whatever way the thread ends.
            let _end: oneshot::Sender<()> = end;
            if let Some(core) = whole.config.affinity.core_of(index) {
                keep_to(core, index);
            }
            let report = started.clone();
            let result = run(engine, async move {
                let listeners = |sockets: Vec<OwnedFd>| {
                    let sockets = sockets.into_iter();
                    let listener = |socket| Ok(Rc::new(Listener::new(engine, socket)?));
                    sockets.map(listener).collect::<io::Result<Vec<_>>>()
                };
                let made = || {
                    let listeners = Listeners {
                        clients: listeners(parts.clients)?,
                        operations: listeners(parts.operations)?,
                    };
                    Ok((listeners, Reactor::new(index, shared, parts.access_log)?))
                };
                match made() {
                    Ok((listeners, reactor)) => {
                        let _ = started.send(Ok(()));
                        serve(reactor, listeners, questions).await;
                    }
                    Err(error) => {
                        let _ = started.send(Err(StartError::Runtime(error)));
                    }
                }
            });
            if let Err(error) = result {
                let why = format!("reactor {index}: {error}");
                if report.send(Err(StartError::Engine(error))).is_err() {
                    // It had started.
                    whole.fail(why);
                }
            }
        })
        .map_err(StartError::Runtime)?;
    match has_started.recv() {
        Ok(Ok(())) => Ok(ReactorThread { thread, ended }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::Runtime(io::Error::other(
            "a reactor thread ended at once",
        ))),
    }
}

/// Keeps the calling thread to a core.
fn keep_to(core: usize, reactor: u32) {
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(
            reactor,
            core,
            "--affinity: the system does not let a reactor keep to its core ({error}); the scheduler places it"
        );
    }
}

struct Listeners {
    clients: Vec<Rc<Listener>>,
    operations: Vec<Rc<Listener>>,
}

async fn serve(
    reactor: Rc<Reactor>,
    listeners: Listeners,
    questions: mpsc::UnboundedReceiver<Inspection>,
) {
    let Listeners {
        clients,
        operations,
    } = listeners;
    let tasks = reactor.start(questions);
    let accepting = accept(&reactor, &clients, Door::Clients);
    let operating = accept(&reactor, &operations, Door::Operations);
    reactor.run().await;
    for listener in &clients {
        listener.close();
    }
    if reactor.shared.has_successor.load(Ordering::Acquire) {
        // Both would accept, and each say something else.
        for listener in &operations {
            listener.close();
        }
    }
    reactor.shared.admission.wake();
    for task in accepting {
        // A panic there has been printed.
        let _ = task.await;
    }
    // From here on new connections are refused, not left to wait.
    drop(clients);
    reactor.stop().await;
    // Who operates the hub can look on until here.
    for listener in &operations {
        listener.close();
    }
    for task in operating {
        let _ = task.await;
    }
    drop(operations);
    reactor.connections.close_rest().await;
    for task in tasks {
        task.abort();
    }
    reactor.lanes.close_all().await;
}

fn accept(
    reactor: &Rc<Reactor>,
    listeners: &[Rc<Listener>],
    door: Door,
) -> Vec<tokio::task::JoinHandle<()>> {
    let accept = |listener: &Rc<Listener>| {
        let accept = listener::run(Rc::clone(reactor), Rc::clone(listener), door);
        reactor.spawn("accepting clients", accept)
    };
    listeners.iter().map(accept).collect()
}
