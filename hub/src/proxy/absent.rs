//! A request whose route has no worker just now: it waits a while for one that comes back,
//! and gets 503 after that.

use super::reserve::Need;
use crate::clock;
use crate::http::local_reply::LocalReply;
use crate::reactor::lanes::Lanes;
use crate::routing::absence::Absence;
use crate::routing::registration::RouteSpec;
use crate::shared::counters::Counters;

/// What has to be waited for; the error is what the client gets, counted and logged.
pub fn wait_or_refuse(lanes: &Lanes, absence: Option<&Absence>) -> Result<Need, LocalReply> {
    let now_ms = clock::coarse_ms();
    // Who is not known to have gone is going: the table has not changed yet.
    let gone_at_ms = absence.map_or(now_ms, |absence| absence.gone_at_ms);
    let until_ms = gone_at_ms + lanes.settings().worker_grace_ms;
    if now_ms < until_ms && !lanes.shared.is_stopping() {
        return Ok(Need::Worker { until_ms });
    }
    Err(no_worker(lanes, absence))
}

/// 503, counted and logged.
pub fn no_worker(lanes: &Lanes, absence: Option<&Absence>) -> LocalReply {
    Counters::add(&lanes.shared.counters.no_worker);
    if let Some(absence) = absence {
        tracing::warn!(
            worker = &*absence.worker,
            "503: a request for {} found no worker, and none came in time (--worker-grace)",
            absence.route
        );
    } else {
        tracing::warn!("503: the worker of a request's route is going away");
    }
    super::outcome::overloaded("no worker of this route is there now")
}

/// 503: as many requests wait for a worker of the route as may.
pub fn too_many_wait(lanes: &Lanes, route: &RouteSpec) -> LocalReply {
    Counters::add(&lanes.shared.counters.no_worker);
    tracing::warn!(
        "503: no worker of {route} is there, and as many requests wait for one as may (--queue)"
    );
    super::outcome::overloaded("no worker of this route is there now")
}

/// For a path without a route: 404, or 503 while workers are missing that may have it.
pub fn not_found(path: &str, missing: &[String]) -> LocalReply {
    match missing {
        [] => LocalReply::error(404, format!("no route for {path}")),
        [name, ..] => {
            tracing::warn!(
                worker = name,
                "503: it is expected and has not attached yet"
            );
            super::outcome::overloaded("no route for this path yet: a worker has not attached")
        }
    }
}
