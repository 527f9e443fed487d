//! The replies of a hub as people read them.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::command::Asked;
use crate::config::settings::Setting;

/// Incidents that `status` shows.
const INCIDENTS_SHOWN: usize = 10;

/// The reply to a command, in lines.
pub fn reply(asked: &Asked, reply: &Value) -> String {
    match asked {
        Asked::Status { .. } => status(reply),
        Asked::Workers { .. } => workers(reply),
        Asked::Routes { path: None, .. } => routes(reply),
        Asked::Routes { .. } => who(reply),
        Asked::Slots { .. } => slots(reply),
        Asked::Reload { .. } => reloaded(reply),
        Asked::Drain { worker, .. } => format!("{worker}: {} draining\n", reply["draining"]),
        Asked::Evict { worker, .. } => format!("{worker}: {} evicted\n", reply["evicted"]),
        Asked::Trace { .. } => traced(reply),
    }
}

/// Settings with their sources.
pub fn settings(settings: &[Setting]) -> String {
    let rows = settings.iter().map(|setting| {
        [
            setting.name.clone(),
            setting.value.clone(),
            setting.source.clone(),
        ]
    });
    let rows: Vec<_> = rows.collect();
    table(["SETTING", "VALUE", "FROM"], [false; 3], &rows)
}

fn reloaded(reply: &Value) -> String {
    let names = |value: &Value| {
        let names: Vec<_> = list(value).iter().map(text).collect();
        names.join(", ")
    };
    let (taken, left) = (names(&reply["taken"]), names(&reply["left"]));
    let taken = if taken.is_empty() { "nothing" } else { &taken };
    let left = match &*left {
        "" => String::new(),
        left => format!("waits for a new start of the hub: {left}\n"),
    };
    format!("taken: {taken}\n{left}")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn microseconds(value: &Value) -> String {
    match value.as_f64() {
        None => "-".to_owned(),
        Some(us) if us < 1000.0 => format!("{us:.0} µs"),
        Some(us) if us < 1e6 => format!("{:.2} ms", us / 1e3),
        Some(us) => format!("{:.2} s", us / 1e6),
    }
}

/// Since when, in the two largest units.
fn age(since_ms: &Value) -> String {
    let Some(since_ms) = since_ms.as_u64() else {
        return "-".to_owned();
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let s = now
        .saturating_sub(Duration::from_millis(since_ms))
        .as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `15:04:05.123`, UTC.
fn time_of_day(at_ms: &Value) -> String {
    let ms = number(at_ms);
    let s = ms / 1000 % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        s / 3600,
        s / 60 % 60,
        s % 60,
        ms % 1000
    )
}

/// Columns as wide as they must be; numbers stand at the right.
fn table<const N: usize>(heads: [&str; N], right: [bool; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([heads[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    let heads = heads.map(str::to_owned);
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if right[column] {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn status(status: &Value) -> String {
    let mut out = String::new();
    for (name, value) in status_lines(status) {
        let _ = writeln!(out, "{name:<11} {value}");
    }
    let incidents = list(&status["incidents"]);
    if !incidents.is_empty() {
        out.push_str("\nincidents, newest first (UTC)\n");
    }
    for incident in incidents.iter().take(INCIDENTS_SHOWN) {
        let _ = writeln!(
            out,
            "  {}  {}: {}: {}",
            time_of_day(&incident["at_ms"]),
            text(&incident["worker"]),
            text(&incident["what"]),
            text(&incident["text"])
        );
    }
    out
}

fn status_lines(status: &Value) -> Vec<(&'static str, String)> {
    let state = match status["not_ready_because"].as_str() {
        None => "ready".to_owned(),
        Some(why) => format!("not ready: {why}"),
    };
    let hub = format!(
        "slotway-hub {}, process {}, up {}, engine {}",
        text(&status["version"]),
        status["pid"],
        age(&status["started_ms"]),
        text(&status["engine"])
    );
    let urls: Vec<_> = list(&status["listens_on"]).iter().map(text).collect();
    let (workers, connections) = (&status["workers"], &status["connections"]);
    let clients = format!(
        "{} connections ({} busy, at most {}), {} event streams",
        connections["open"],
        connections["busy"],
        connections["max"],
        status["event_stream_clients"]
    );
    let latency = ["p50", "p99", "p999"].map(|name| microseconds(&status["latency_us"][name]));
    let [p50, p99, p999] = latency;
    let queue = &status["queue"];
    let mut lines = vec![
        ("state", state),
        ("hub", hub),
        ("listens on", urls.join(", ")),
        ("attach", text(&status["attach"]).to_owned()),
        (
            "workers",
            format!(
                "{} live, {} draining; {} routes",
                workers["live"], workers["draining"], status["routes"]
            ),
        ),
        ("clients", clients),
        (
            "queue",
            format!(
                "{} waiting, the longest for {} ms",
                queue["waiting"], queue["oldest_ms"]
            ),
        ),
        (
            "requests",
            format!(
                "{}, {} of them failed",
                status["requests"], status["failed"]
            ),
        ),
        ("latency", format!("p50 {p50}, p99 {p99}, p99.9 {p999}")),
    ];
    let faults = status["faults"].as_object().into_iter().flatten();
    let faults: Vec<_> = faults
        .filter(|(_, count)| number(count) > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !faults.is_empty() {
        lines.push(("faults", faults.join(", ")));
    }
    lines
}

fn workers(workers: &Value) -> String {
    let rows: Vec<_> = list(workers)
        .iter()
        .map(|worker| {
            let slots = &worker["slots"];
            let since = match &worker["started_ms"] {
                Value::Null => &worker["attached_ms"],
                started => started,
            };
            [
                text(&worker["name"]).to_owned(),
                text(&worker["state"]).to_owned(),
                text(&worker["version"]).to_owned(),
                age(since),
                worker["pid"]
                    .as_i64()
                    .map_or("-".to_owned(), |pid| pid.to_string()),
                list(&worker["routes"]).len().to_string(),
                format!("{}/{}", slots["in_use"], slots["total"]),
                slots["open_streams"].to_string(),
                slots["quarantined"].to_string(),
                text(&worker["worker_id"])
                    .get(..8)
                    .unwrap_or("-")
                    .to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no worker is attached\n".to_owned();
    }
    let heads = [
        "worker",
        "state",
        "version",
        "uptime",
        "process",
        "routes",
        "slots",
        "streams",
        "quarantined",
        "id",
    ];
    let right = [
        false, false, false, false, true, true, true, true, true, false,
    ];
    table(heads, right, &rows)
}

fn routes(routes: &Value) -> String {
    let rows: Vec<_> = list(routes)
        .iter()
        .map(|route| {
            let latency = &route["latency_us"];
            let workers: Vec<_> = list(&route["workers"]).iter().map(text).collect();
            let sse = if route["event_stream"] == true {
                " (event stream)"
            } else {
                ""
            };
            [
                text(&route["method"]).to_owned(),
                format!("{}{sse}", text(&route["route"])),
                if workers.is_empty() {
                    "-".to_owned()
                } else {
                    workers.join(", ")
                },
                route["requests"].to_string(),
                route["failed"].to_string(),
                microseconds(&latency["p50"]),
                microseconds(&latency["p99"]),
                microseconds(&latency["p999"]),
                route["waiting"].to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no route is registered\n".to_owned();
    }
    let heads = [
        "method", "route", "workers", "requests", "failed", "p50", "p99", "p99.9", "waiting",
    ];
    let right = [false, false, false, true, true, true, true, true, true];
    table(heads, right, &rows)
}

fn who(who: &Value) -> String {
    let path = text(&who["path"]);
    let workers: Vec<_> = list(&who["workers"])
        .iter()
        .map(|worker| text(&worker["name"]))
        .collect();
    let route = text(&who["route"]);
    let mut out = match (text(&who["answer"]), number(&who["status"])) {
        ("hub", _) => format!("{path}: the hub answers it itself\n"),
        ("worker", _) => format!("{path}: {}, by the route {route}\n", workers.join(", ")),
        ("nobody now", _) => format!(
            "{path}: nobody now; the route {route} has lost its worker {}\n",
            text(&who["gone"])
        ),
        (_, 405) => format!("{path}: 405, its methods are {}\n", text(&who["allow"])),
        (_, status) => format!("{path}: {status}, no route matches\n"),
    };
    for (name, value) in who["params"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "  {name} = {}", text(value));
    }
    out
}

fn slots(slots: &Value) -> String {
    let mut out = String::new();
    for worker in list(&slots["workers"]) {
        let _ = writeln!(
            out,
            "{}: {} of {} slots in use",
            text(&worker["name"]),
            worker["in_use"],
            worker["total"]
        );
        for slot in list(&worker["slots"]) {
            let _ = writeln!(
                out,
                "  reactor {} slot {}: {}, generation {}",
                slot["reactor"],
                slot["slot"],
                text(&slot["state"]),
                slot["generation"]
            );
        }
    }
    if out.is_empty() {
        out.push_str("no worker is attached\n");
    }
    out
}

/// The head of what [`traced`] makes.
pub const TRACE_HEAD: &str = "time (UTC)    status      took  parse     queue     worker    response  \
                              write     worker (process), method, route\n";

/// A request of a trace.
pub fn traced(request: &Value) -> String {
    let mut out = String::new();
    let lost = number(&request["lost"]);
    if lost > 0 {
        let _ = writeln!(out, "({lost} requests came too quickly to be shown)");
    }
    let status = match (number(&request["status"]), request["aborted"] == true) {
        (0, _) => "left".to_owned(),
        (status, true) => format!("{status} cut"),
        (status, false) => status.to_string(),
    };
    let phases = ["parse", "queue", "worker", "response", "write"];
    let phases = phases.map(|phase| format!("{:<9}", microseconds(&request["phases_us"][phase])));
    let worker = match (request["worker"].as_str(), request["pid"].as_i64()) {
        (None, _) => "-".to_owned(),
        (Some(name), None) => name.to_owned(),
        (Some(name), Some(pid)) => format!("{name} ({pid})"),
    };
    let _ = writeln!(
        out,
        "{}  {status:<7} {:>8}  {} {worker}, {} {}",
        time_of_day(&request["at_ms"]),
        microseconds(&request["took_us"]),
        phases.join(" "),
        text(&request["method"]),
        text(&request["route"]),
    );
    out
}
