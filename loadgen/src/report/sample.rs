//! A run that never was, for tests of what is shown: always the same.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use slotway_net::Engine;

use crate::environment::{Environment, Settings};
use crate::load::disturbance::Disturbance;
use crate::load::outcome::{Outcome, Point};
use crate::load::plan::{Length, Plan};
use crate::load::steps::steps;
use crate::load::{ErrorKind, Interval, new_histogram};
use crate::noise::{NoiseFloor, Trust};
use crate::report::Report;
use crate::report::described::DescribedPlan;
use crate::schedule::Rate;
use crate::workload::{Expected, Template, Workload};

/// An open loop of two seconds.
pub fn plan() -> Plan {
    let template = Template {
        method: "GET".to_owned(),
        ..Template::default()
    };
    let workload = Workload::of_url(
        "http://127.0.0.1:3200/items",
        &template,
        Expected::default(),
    );
    Plan {
        workload: Arc::new(workload.unwrap()),
        engine: Engine::Epoll,
        thread_count: 1,
        connection_count: 4,
        rate: Some(Rate::parse("3400").unwrap()),
        connect_rate: None,
        requests_per_connection: None,
        warmup: Duration::from_millis(500),
        length: Length::Time(Duration::from_secs(2)),
        timeout: Duration::from_secs(10),
        spin: false,
        follows_streams: false,
    }
}

/// One second of it.
pub fn interval(error_count: u64) -> Interval {
    let mut interval = Interval::new();
    interval.latency.record_n(80_000, 3_300).unwrap();
    interval.latency.record_n(9_000_000, 100).unwrap();
    interval.service.record_n(70_000, 3_400).unwrap();
    interval.lag.record_n(5_000, 3_400).unwrap();
    interval.record_phases(&[Some(2_000), Some(11_000), Some(3_000), Some(14_000)]);
    interval.response_count = 3_400;
    interval.statuses.add(200, 3_400);
    for (status, nanoseconds, count) in [(200, 80_000, 3_400), (503, 40_000, error_count)] {
        for _ in 0..count {
            interval.groups.note_status(status, nanoseconds);
        }
    }
    interval.connect.record_n(60_000, 4).unwrap();
    interval.received_bytes = 3_400 * 120;
    for _ in 0..error_count {
        interval.errors.add(ErrorKind::Status(503));
    }
    interval
}

/// What came of it.
pub fn outcome() -> Outcome {
    let mut total = interval(0);
    total.merge(&interval(3));
    let point = |from_seconds, error_count| Point {
        from_seconds,
        seconds: 1.0,
        response_count: 3_400,
        error_count,
        p50_ns: 80_000,
        p99_ns: 9_000_000,
        max_ns: 9_000_000,
        steps: steps(&interval(0).latency),
    };
    Outcome {
        total,
        points: vec![point(0.0, 0), point(1.0, 3)],
        began: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        elapsed: Duration::from_secs(2),
        asked_rate: Some(3400.0),
        unsent_count: 0,
        cpu: Duration::from_millis(340),
        busy: Duration::from_millis(360),
        thread_count: 1,
        disturbance: Disturbance::default(),
        streams: None,
        partial: None,
    }
}

/// Its noise floor.
pub fn noise() -> NoiseFloor {
    let (mut idle_lag, mut echo_latency) = (new_histogram(), new_histogram());
    idle_lag.record_n(4_000, 100).unwrap();
    echo_latency.record_n(40_000, 1_700).unwrap();
    NoiseFloor {
        idle_lag,
        echo_latency,
        echo_rate: 3_400.0,
    }
}

/// Where it was not made.
pub fn environment() -> Environment {
    Environment {
        version: "0.1.0".to_owned(),
        command: "slotway-loadgen http://127.0.0.1:3200/items --rate 3400 -d 2".to_owned(),
        kernel: "6.18.0".to_owned(),
        cpu: "A <fast> CPU".to_owned(),
        cores: 2,
        engine: "epoll".to_owned(),
        settings: Settings {
            governor: Some("performance".to_owned()),
            turbo: Some(true),
            smt: Some(false),
            cpu_quota_cores: None,
        },
        started_unix_s: 1_700_000_000,
    }
}

/// Calls `look` with all of it.
pub fn with_report<R>(look: impl FnOnce(&Report<'_>) -> R) -> R {
    let plan = DescribedPlan::of(&plan(), "http://127.0.0.1:3200/items");
    let (outcome, noise, environment) = (outcome(), noise(), environment());
    look(&Report {
        plan: &plan,
        outcome: &outcome,
        noise: Some(&noise),
        trust: &Trust::judge(&outcome.total.latency, &outcome.total.lag, 0.25),
        environment: &environment,
    })
}

/// Compares with a file in `tests/golden`; with `UPDATE_GOLDEN` set, writes it.
pub fn assert_golden(name: &str, shown: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == shown,
        "tests/golden/{name} differs from what is shown now; if the change is meant, run the \
         tests with UPDATE_GOLDEN=1 and look at the difference:\n{shown}"
    );
}
