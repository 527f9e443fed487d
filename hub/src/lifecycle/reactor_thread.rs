//! The thread of one reactor: its engine, its tasks, and its end.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use slotway_net::{Engine, Listener, run};
use tokio::sync::{mpsc, oneshot};

use super::error::StartError;
use crate::front::listener;
use crate::reactor::{Reactor, inspect, ping};
use crate::shared::Shared;
use crate::shared::inspection::Inspection;
use crate::shared::vital::vital;

/// A reactor, and what is done once its thread has come to its end.
pub struct ReactorThread {
    /// It.
    pub thread: JoinHandle<()>,
    /// Told at its end.
    pub ended: oneshot::Receiver<()>,
}

/// Starts a reactor and waits until its engine runs.
pub fn start_reactor(
    engine: Engine,
    index: u32,
    shared: Arc<Shared>,
    sockets: Vec<OwnedFd>,
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
            let report = started.clone();
            let result = run(engine, async move {
                let listeners: io::Result<Vec<_>> = sockets
                    .into_iter()
                    .map(|socket| Ok(Rc::new(Listener::new(engine, socket)?)))
                    .collect();
                let reactor = Reactor::new(index, shared);
                match listeners.and_then(|listeners| Ok((listeners, reactor?))) {
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

/// A task of a reactor that the hub cannot be without.
fn spawn(
    shared: Arc<Shared>,
    what: &'static str,
    task: impl Future<Output = ()> + 'static,
) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_local(vital(shared, what, task))
}

async fn serve(
    reactor: Rc<Reactor>,
    listeners: Vec<Rc<Listener>>,
    questions: mpsc::UnboundedReceiver<Inspection>,
) {
    let shared = || Arc::clone(&reactor.shared);
    let mut tasks = vec![
        spawn(
            shared(),
            "ringing workers",
            Rc::clone(&reactor).ring_marked_lanes(),
        ),
        spawn(
            shared(),
            "looking after deadlines",
            Rc::clone(&reactor).sweep(),
        ),
        spawn(
            shared(),
            "watching connections",
            Rc::clone(&reactor).watch(),
        ),
        spawn(
            shared(),
            "noticing clients that leave",
            Rc::clone(&reactor).look_out(),
        ),
        spawn(
            shared(),
            "telling of slots",
            inspect::serve(Rc::clone(&reactor), questions),
        ),
    ];
    if reactor.shared.config.ping > 0 {
        let interval = Duration::from_secs(reactor.shared.config.ping);
        let task = ping::run(Rc::clone(&reactor), interval);
        tasks.push(spawn(shared(), "pinging workers", task));
    }
    let accepting: Vec<_> = listeners
        .iter()
        .map(|listener| {
            let accept = listener::run(Rc::clone(&reactor), Rc::clone(listener));
            spawn(shared(), "accepting clients", accept)
        })
        .collect();
    let wake = &reactor.shared.reactor_wakes[reactor.index as usize];
    loop {
        wake.notified().await;
        reactor.reconcile();
        if reactor.shared.stopping.load(Ordering::Acquire) {
            break;
        }
    }
    let limit = Duration::from_secs(reactor.shared.config.drain_timeout);
    for listener in &listeners {
        listener.close();
    }
    reactor.shared.admission.wake();
    for task in accepting {
        // A panic there has been printed.
        let _ = task.await;
    }
    // From here on new connections are refused, not left to wait. Only now are clients
    // told to go: those that come back at once must find the door closed, not be
    // caught in it.
    drop(listeners);
    reactor.begin_stop();
    let finished = reactor.finish_stop(limit);
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => break,
            // Workers may go meanwhile, and then nobody must wait for them.
            () = wake.notified() => reactor.reconcile(),
        }
    }
    for task in tasks {
        task.abort();
    }
    reactor.close_all_lanes().await;
}
