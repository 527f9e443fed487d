//! What a balancer is told that asks how the hub is (`HAProxy`'s agent-check): a line for each connection.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, Shutdown, SocketFlags};
use slotway_net::{Watched, readable};
use tokio::sync::oneshot;

use crate::limits::{ACCEPT_PAUSE, AGENT_ANSWER_TIME, REACTOR_ANSWER_TIME};
use crate::shared::Shared;
use crate::shared::inspection::{Inspection, ReactorLoad};

/// Answers everybody at these listeners, one after the other, until the hub ends.
pub async fn run(shared: Arc<Shared>, listeners: Vec<OwnedFd>) {
    let tasks = listeners.into_iter().map(|listener| {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Those of the reactors are made so by them.
            let waitable = rustix::io::ioctl_fionbio(&listener, true).map_err(io::Error::from);
            match waitable.and_then(|()| readable(listener)) {
                Ok(listener) => answer_all(&shared, &listener).await,
                Err(error) => tracing::error!(%error, "--agent-check cannot be waited on"),
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        // It ends with the hub.
        let _ = task.await;
    }
}

async fn answer_all(shared: &Shared, listener: &Watched) {
    let mut last: Option<(Instant, String)> = None;
    while !shared.has_successor.load(Ordering::Acquire) {
        let accept = |socket: &OwnedFd| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            Ok(rustix::net::accept_with(socket, flags)?)
        };
        // It looks up now and then, to leave the listener to a hub that has taken over.
        let accepted = tokio::time::timeout(ACCEPT_WAIT, listener.read_with(accept)).await;
        let socket = match accepted {
            Err(_) => continue,
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot accept at --agent-check; trying again after a pause");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if shared.has_successor.load(Ordering::Acquire) {
            // Whether this hub stops is not what is asked: the next one answers the next check.
            return;
        }
        let is_fresh = |(at, _): &(Instant, String)| at.elapsed() < AGENT_ANSWER_TIME;
        let (at, line) = match last.take().filter(is_fresh) {
            Some(known) => known,
            None => (Instant::now(), line(shared).await),
        };
        // In vain if the peer has left; a line fits what the system takes at once.
        let _ = send(&socket, &line);
        last = Some((at, line));
    }
}

const ACCEPT_WAIT: Duration = Duration::from_millis(500);

fn send(socket: &OwnedFd, line: &str) -> io::Result<()> {
    rustix::net::send(socket, line.as_bytes(), SendFlags::NOSIGNAL)?;
    Ok(rustix::net::shutdown(socket, Shutdown::Write)?)
}

/// How the hub is: `ready` takes back a `drain` of before, and the weight is the share of free slots.
async fn line(shared: &Shared) -> String {
    if shared.is_stopping() || shared.unready.load(Ordering::Acquire) {
        return "drain\n".to_owned();
    }
    let table = shared.routes.current();
    let workers = table.live_count() as u64;
    if let Some(missing) = table.missing.first() {
        return format!("down#the worker {missing} has not attached\n");
    }
    if workers == 0 {
        return "down#no worker is attached\n".to_owned();
    }
    let slots_of_reactor = u64::from(shared.config.slots) * workers;
    let asked = shared.inspections.iter().map(|inspections| {
        let (reply, load) = oneshot::channel::<ReactorLoad>();
        let is_asked = inspections.send(Inspection::Load(reply)).is_ok();
        is_asked.then_some(load)
    });
    let asked: Vec<_> = asked.collect();
    let until = tokio::time::Instant::now() + REACTOR_ANSWER_TIME;
    let (mut used, mut streams) = (0, shared.streams.client_count() as u64);
    for load in asked {
        let answer = match load {
            Some(load) => tokio::time::timeout_at(until, load).await.ok(),
            None => None,
        };
        match answer {
            Some(Ok(load)) => {
                for (_, slots) in load.lanes {
                    used += u64::from(slots.used - slots.open_streams);
                    streams += u64::from(slots.open_streams);
                }
            }
            // One that does not answer has no free slot to speak of.
            _ => used += slots_of_reactor,
        }
    }
    let total = slots_of_reactor * shared.inspections.len() as u64;
    let percent = (total.saturating_sub(used) * 100 / total).max(1);
    // Clients of event streams take none of the slots, and must not take the requests' connections.
    format!("ready up {percent}% maxconn:{}\n", total + streams)
}
