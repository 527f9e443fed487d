//! A request whose route has no worker just now: it waits a while for one that comes back,
//! and gets 503 after that.

use super::reserve::Need;
use crate::clock;
use crate::http::local_reply::LocalReply;
use crate::reactor::lanes::Lanes;
use crate::routing::absence::Absence;

/// What has to be waited for; the error is what the client gets.
pub fn wait_or_refuse(lanes: &Lanes, absence: Option<&Absence>) -> Result<Need, LocalReply> {
    let now_ms = clock::coarse_ms();
    // Who is not known to have gone is going: the table has not changed yet.
    let gone_at_ms = absence.map_or(now_ms, |absence| absence.gone_at_ms);
    let until_ms = gone_at_ms + lanes.shared.config.worker_grace.ms();
    if now_ms < until_ms && !lanes.shared.is_stopping() {
        return Ok(Need::Worker { until_ms });
    }
    Err(no_worker(absence))
}

/// 503.
pub fn no_worker(absence: Option<&Absence>) -> LocalReply {
    let why = match absence {
        Some(absence) => format!(
            "the worker of this route, {:?}, is not there now",
            absence.worker
        ),
        None => "the worker of this route is going away".to_owned(),
    };
    super::outcome::overloaded(&why)
}

/// For a path without a route: 404, or 503 while workers are missing that may have it.
pub fn not_found(path: &str, missing: &[String]) -> LocalReply {
    match missing {
        [] => LocalReply::error(404, format!("no route for {path}")),
        [name, ..] => super::outcome::overloaded(&format!(
            "no route for {path} yet: the worker {name:?} has not attached"
        )),
    }
}
