//! How a session ends: it is replaced, leaves, crashes, or is put out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use slotway_shm_proto::message::{FromHub, Goodbye};
use slotway_shm_proto::packet;

use super::{Attached, Sessions};
use crate::clock;
use crate::limits::WORKER_ID_CHARS_MIN;
use crate::routing::session::Session;
use crate::status::incidents::Cause;

impl Sessions {
    /// Workers of a name finish what they have.
    pub(super) fn replace(&mut self, name: &str) {
        let limit = self.drain_limit();
        for older in &mut self.attached {
            if older.session.name == name && older.is_live() {
                older.drain(limit, Goodbye::Replaced);
                let text = "replaced: the older one finishes its requests in flight";
                self.incidents.note(name, "draining", text);
                tracing::info!(
                    worker = name,
                    "replaced: the older one finishes its requests in flight"
                );
                if self.turns.replaced(name, Instant::now()) {
                    tracing::warn!(
                        worker = name,
                        "workers of this name replace each other again and again: replicas of one \
                         service must say that they are instances (HubWorker::instance())"
                    );
                }
            }
        }
    }

    /// A worker finishes what it has, and goes.
    pub fn leave(&mut self, id: u64) {
        let limit = self.drain_limit();
        let mut attached = self.attached.iter_mut();
        let leaving = attached.find(|attached| attached.session.id == id);
        if let Some(attached) = leaving
            && attached.is_live()
        {
            tracing::info!(
                worker = attached.session.name,
                "leaving: it finishes its requests in flight"
            );
            attached.drain(limit, Goodbye::Left);
            let name = &attached.session.name;
            self.incidents
                .note(name, "draining", "it finishes its requests in flight");
            self.absences.gone(&attached.session, clock::coarse_ms());
            self.publish();
        }
    }

    /// How long a worker may take to finish what it has.
    fn drain_limit(&self) -> Duration {
        self.shared.live.borrow().drain_time
    }

    /// A worker's connection or process ended.
    pub fn worker_gone(&mut self, id: u64, how: &str) {
        if let Some(attached) = self.take(id) {
            tracing::info!(worker = attached.session.name, "gone: {how}");
            self.end(&attached, Cause::Crashed, how);
        }
    }

    /// A worker is put out.
    pub fn evict(&mut self, id: u64, goodbye: Goodbye, why: &str) {
        self.put_out(id, goodbye, Cause::of(goodbye), why);
    }

    fn put_out(&mut self, id: u64, goodbye: Goodbye, cause: Cause, why: &str) {
        if let Some(attached) = self.take(id) {
            tracing::error!(worker = attached.session.name, "evicted: {why}");
            self.end(&attached, cause, why);
            // Only now: what a worker answers when it is told is no response to anybody.
            say_goodbye(&attached, goodbye);
        }
    }

    /// Ends sessions that drain for longer than they may.
    pub(super) fn evict_late(&mut self) {
        let now = Instant::now();
        let drains = self.attached.iter();
        let drains = drains.filter_map(|attached| Some((attached.session.id, attached.drain?)));
        let late: Vec<_> = drains.filter(|(_, drain)| drain.deadline <= now).collect();
        for (id, drain) in late {
            let why = "it did not finish its requests in time";
            self.put_out(id, drain.goodbye, Cause::Late, why);
        }
    }

    /// The reactors have let go of a session: after an end, or once it drained.
    pub fn lanes_closed(&mut self, id: u64) {
        let closing = &mut self.closing;
        if let Some(place) = closing.iter().position(|session| session.id == id) {
            self.indexes.give_back(closing.swap_remove(place).index);
        }
        if let Some(attached) = self.take(id) {
            self.indexes.give_back(attached.session.index);
            tracing::info!(worker = attached.session.name, "drained");
            let goodbye = attached
                .drain
                .map_or(Goodbye::Replaced, |drain| drain.goodbye);
            say_goodbye(&attached, goodbye);
            attached.watcher.abort();
            let name = &attached.session.name;
            self.incidents
                .ended(name, Cause::of(goodbye), "it has finished what it had");
        }
        // The table held the session, and with it its memory, until now.
        self.publish();
    }

    /// An ended session's sockets are counted no more, though its worker may still have them: it
    /// tells the hub of its next session.
    fn take(&mut self, id: u64) -> Option<Attached> {
        let place = self
            .attached
            .iter()
            .position(|attached| attached.session.id == id)?;
        let attached = self.attached.remove(place);
        self.release_sockets(&attached);
        Some(attached)
    }

    fn release_sockets(&self, attached: &Attached) {
        let released = attached.session.upgrades.end();
        self.shared.admission.release(released);
    }

    fn end(&mut self, attached: &Attached, cause: Cause, why: &str) {
        attached.watcher.abort();
        self.incidents.ended(&attached.session.name, cause, why);
        // The routes of one that drained are known to be gone, or another's.
        if attached.is_live() {
            self.absences.gone(&attached.session, clock::coarse_ms());
        }
        self.closing.push(Arc::clone(&attached.session));
        self.publish();
    }

    /// Says goodbye to every worker: the hub stops.
    pub fn stop(&mut self) {
        for attached in std::mem::take(&mut self.attached) {
            say_goodbye(&attached, Goodbye::Stopping);
            self.release_sockets(&attached);
            self.end(&attached, Cause::Stopping, "the hub stops");
        }
    }

    /// The sessions that an operator means: all of a name, or the one of a process or of a
    /// worker id, which may be cut short.
    fn meant_by(&self, worker: &str) -> Vec<u64> {
        let of = |is_it: &dyn Fn(&Session) -> bool| -> Vec<u64> {
            let sessions = self.attached.iter().map(|attached| &attached.session);
            sessions.filter(|s| is_it(s)).map(|s| s.id).collect()
        };
        let named = of(&|session| session.name == worker);
        if !named.is_empty() {
            return named;
        }
        let pid = worker.parse::<i32>().ok();
        let is_pid =
            |session: &Session| pid.is_some() && session.peer.pid.map(Pid::as_raw_pid) == pid;
        let of_process = of(&is_pid);
        if !of_process.is_empty() || worker.len() < WORKER_ID_CHARS_MIN {
            return of_process;
        }
        of(&|session| session.worker_id.starts_with(worker))
    }

    /// Workers finish what they have, and end. Returns how many do.
    pub fn drain_by_operator(&mut self, worker: &str) -> usize {
        let ids = self.meant_by(worker);
        for id in &ids {
            self.leave(*id);
        }
        ids.len()
    }

    /// The configuration has changed: routes have other limits, and workers that may not attach any more
    /// finish what they have and end.
    pub fn reloaded(&mut self) {
        let policy = self.shared.attach_policy.borrow().clone();
        let mut refused = Vec::new();
        for attached in self.attached.iter().filter(|attached| attached.is_live()) {
            let session = &attached.session;
            let grant = policy.grant(&attached.socket, session.peer);
            let why = match grant.map(|grant| grant.check(&session.name, &session.routes)) {
                Some(Ok(())) => continue,
                Some(Err(why)) => why,
                None => "its user may not attach any more".to_owned(),
            };
            tracing::warn!(
                worker = session.name,
                user = session.peer.uid,
                "the configuration has changed, and the worker is drained: {why}"
            );
            refused.push(session.id);
        }
        for id in refused {
            self.leave(id);
        }
        self.editor.touch_all();
        self.publish();
    }

    /// Workers are put out at once. Returns how many are.
    pub fn evict_by_operator(&mut self, worker: &str) -> usize {
        let ids = self.meant_by(worker);
        for id in &ids {
            self.evict(
                *id,
                Goodbye::Evicted,
                "an operator wanted it (slotway-hub evict)",
            );
        }
        ids.len()
    }
}

fn say_goodbye(attached: &Attached, goodbye: Goodbye) {
    // In vain if the worker does not read; the close that follows says enough.
    let _ = packet::send_last(&attached.socket, &FromHub::Goodbye(goodbye).to_packet());
}
