//! An observation as metrics, in one of the text formats.
//! `docs/operating.md` says what each of them means.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::observation::{Observation, RouteView};
use super::openmetrics::{Format, to_prometheus};
use super::process::ProcessUse;
use crate::limits::COUNTED_WORKER_COUNT_MAX;
use crate::metrics::histogram::Durations;
use crate::metrics::recorder::{Phase, StatusClass};
use crate::routing::session::SessionState;

/// All metrics as text.
pub fn encode(observation: Observation, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(observation)));
    let mut openmetrics = String::new();
    text::encode(&mut openmetrics, &registry).expect("a String takes everything");
    match format {
        Format::OpenMetrics => openmetrics,
        Format::Prometheus => to_prometheus(&openmetrics),
    }
}

#[derive(Debug)]
struct Metrics(Observation);

/// One label or several, in this order.
type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

const NO_LABELS: Labels<'static, 0> = [];

/// Writes one family after the other.
struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, unit, kind)?;
        write(&mut encoder)
    }

    fn counters<'l, const N: usize, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, None, MetricType::Counter, |encoder| {
            for (labels, value) in values {
                let mut own = encoder.encode_family(&labels)?;
                own.encode_counter::<NoLabelSet, V, f64>(&value, None)?;
            }
            Ok(())
        })
    }

    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    fn gauges<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, None, MetricType::Gauge, |encoder| {
            for (labels, value) in values {
                encoder.encode_family(&labels)?.encode_gauge(&value)?;
            }
            Ok(())
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(name, help, [(NO_LABELS, value)])
    }

    fn durations<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, &'l Durations)>,
    ) -> fmt::Result {
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        self.family(name, help, unit, kind, |encoder| {
            for (labels, durations) in values {
                let sum = durations.sum().as_secs_f64();
                let buckets = durations.exported();
                let mut own = encoder.encode_family(&labels)?;
                own.encode_histogram::<NoLabelSet>(sum, durations.count(), &buckets, None)?;
            }
            Ok(())
        })
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = &mut Families(encoder);
        self.encode_hub(families)?;
        self.encode_requests(families)?;
        self.encode_queues(families)?;
        self.encode_workers(families)?;
        self.encode_clients(families)?;
        encode_process(families, self.0.facts.started_ms)
    }
}

impl Metrics {
    fn encode_hub(&self, families: &mut Families<'_>) -> fmt::Result {
        let facts = &self.0.facts;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("engine", &*facts.engine),
        ];
        let help = "The hub's version and what moves its bytes";
        families.family("slotway_build", help, None, MetricType::Info, |encoder| {
            encoder.encode_info(&labels)
        })?;
        families.gauge(
            "slotway_ready",
            "1 if the hub takes requests, else 0",
            u64::from(self.0.control.not_ready.is_none()),
        )?;
        families.gauge(
            "slotway_silent_reactors",
            "Reactors that did not say in time what they have to do; their slots, queues and \
             connections are missing here",
            self.0.silent_reactors,
        )
    }

    /// Routes that have had a request.
    fn routes(&self) -> impl Iterator<Item = &RouteView> {
        self.0
            .routes
            .iter()
            .filter(|route| route.totals.count() > 0)
    }

    fn encode_requests(&self, families: &mut Families<'_>) -> fmt::Result {
        families.counters(
            "slotway_requests",
            "Requests that have ended, by route, method and class of status",
            self.routes().flat_map(|route| {
                let label = &route.label;
                let classes = StatusClass::ALL.into_iter().zip(route.totals.requests);
                let counted = classes.filter(|(_, count)| *count > 0);
                counted.map(move |(class, count)| {
                    let labels = [
                        ("route", &*label.route),
                        ("method", label.method),
                        ("status_class", class.label()),
                    ];
                    (labels, count)
                })
            }),
        )?;
        families.durations(
            "slotway_request_duration",
            "From a whole request head to the last byte of the response; to its head where the \
             response has no known length",
            self.routes().map(|route| {
                let label = &route.label;
                let labels = [("route", &*label.route), ("method", label.method)];
                (labels, &route.totals.durations)
            }),
        )?;
        families.durations(
            "slotway_request_phase",
            "Where the time of requests to workers went; one of sixteen is measured",
            Phase::ALL
                .into_iter()
                .zip(&self.0.phases)
                .map(|(phase, durations)| ([("phase", phase.label())], durations)),
        )?;
        self.encode_faults(families)
    }

    fn encode_faults(&self, families: &mut Families<'_>) -> fmt::Result {
        let own = ["lost_wakes", "access_log_lost"];
        let faults = self.0.faults.iter();
        let faults = faults.filter(|(name, ..)| !own.contains(name));
        families.counters(
            "slotway_faults",
            "What the hub has counted of what went wrong, or nearly",
            faults.map(|(name, _, count)| ([("fault", *name)], *count)),
        )?;
        let count_of = |wanted: &str| {
            let mut faults = self.0.faults.iter();
            faults
                .find(|(name, ..)| *name == wanted)
                .map(|(_, _, count)| *count)
        };
        families.counter(
            "slotway_lost_wakes",
            "Wake-ups of the hub that were lost; not 0 is a bug",
            count_of("lost_wakes").unwrap_or_default(),
        )?;
        match count_of("access_log_lost") {
            Some(count) => families.counter(
                "slotway_access_log_lost",
                "Requests that have no line in the access log",
                count,
            ),
            None => Ok(()),
        }
    }

    fn encode_queues(&self, families: &mut Families<'_>) -> fmt::Result {
        families.gauge(
            "slotway_queue_length",
            "Requests that wait for a slot or a worker, whatever their route",
            self.0.queue.waiting,
        )?;
        families.gauge(
            "slotway_queue_age_seconds",
            "How long the request has waited that has waited longest",
            self.0.queue.oldest_ms as f64 / 1000.0,
        )?;
        let queued = || self.0.routes.iter().filter(|route| route.queue.waiting > 0);
        families.gauges(
            "slotway_route_queue_length",
            "Requests that wait, of each route that has some",
            queued().map(|route| (route_labels(route), route.queue.waiting)),
        )?;
        families.gauges(
            "slotway_route_queue_age_seconds",
            "How long the first of them has waited",
            queued().map(|route| {
                let seconds = route.queue.oldest_ms as f64 / 1000.0;
                (route_labels(route), seconds)
            }),
        )
    }

    /// Workers by name: instances, and their slots together.
    fn by_name(&self) -> std::collections::BTreeMap<&str, (u64, [u64; 4])> {
        let mut by_name = std::collections::BTreeMap::new();
        for worker in &self.0.workers {
            let name = worker.session.name.as_str();
            let is_known = by_name.contains_key(name);
            let key = if is_known || by_name.len() < COUNTED_WORKER_COUNT_MAX {
                name
            } else {
                "other"
            };
            let (instances, slots): &mut (u64, [u64; 4]) = by_name.entry(key).or_default();
            *instances += u64::from(worker.state == SessionState::Live);
            let load = worker.slots;
            let used = load.used - load.open_streams.min(load.used);
            slots[0] += self.0.slot_count.saturating_sub(u64::from(used));
            slots[1] += u64::from(used.saturating_sub(load.quarantined));
            slots[2] += u64::from(load.open_streams);
            slots[3] += u64::from(load.quarantined);
        }
        by_name
    }

    fn encode_workers(&self, families: &mut Families<'_>) -> fmt::Result {
        let count = |state| {
            let workers = self.0.workers.iter();
            workers.filter(|worker| worker.state == state).count() as u64
        };
        families.gauges(
            "slotway_sessions",
            "Workers that are attached",
            [
                ([("state", "live")], count(SessionState::Live)),
                ([("state", "draining")], count(SessionState::Draining)),
            ],
        )?;
        let by_name = self.by_name();
        families.gauges(
            "slotway_instances",
            "Workers of a name that take requests",
            by_name
                .iter()
                .map(|(name, (instances, _))| ([("worker", *name)], *instances)),
        )?;
        families.gauges(
            "slotway_slots",
            "Slots by what they are in; open_stream are responses without a known length, which \
             have slots of their own",
            by_name.iter().flat_map(|(name, (_, slots))| {
                let states = ["free", "in_use", "open_stream", "quarantined"];
                let states = states.into_iter().zip(*slots);
                states.map(move |(state, count)| ([("worker", *name), ("state", state)], count))
            }),
        )?;
        let workers = self.0.workers.iter();
        let held = workers.fold(std::collections::BTreeMap::new(), |mut held, worker| {
            let name = worker.session.name.as_str();
            let key = if by_name.contains_key(name) {
                name
            } else {
                "other"
            };
            *held.entry(key).or_insert(0) += u64::from(worker.session.upgrades.count());
            held
        });
        families.gauges(
            "slotway_upgraded_connections",
            "Client connections that workers hold, such as WebSockets; they count as connections",
            held.into_iter()
                .map(|(name, count)| ([("worker", name)], count)),
        )?;
        families.counters(
            "slotway_sessions_ended",
            "Sessions of workers that have ended, by cause",
            self.0
                .control
                .ends
                .iter()
                .map(|(cause, count)| ([("cause", cause.label())], *count)),
        )?;
        families.counter(
            "slotway_worker_wakes",
            "Bells of sleeping workers that were rung",
            self.0.traffic.wakes,
        )
    }

    fn encode_clients(&self, families: &mut Families<'_>) -> fmt::Result {
        let traffic = &self.0.traffic;
        families.gauges(
            "slotway_connections",
            "Client connections that are open",
            [
                ([("state", "busy")], self.0.busy_connections),
                (
                    [("state", "idle")],
                    self.0.connections.saturating_sub(self.0.busy_connections),
                ),
            ],
        )?;
        families.gauge(
            "slotway_connections_max",
            "The most client connections there may be",
            self.0.connections_max,
        )?;
        families.counter(
            "slotway_connections_accepted",
            "Client connections accepted",
            traffic.connections,
        )?;
        families.counter(
            "slotway_received_bytes",
            "Bytes read from clients",
            traffic.received_bytes,
        )?;
        families.counter(
            "slotway_sent_bytes",
            "Bytes sent to clients",
            traffic.sent_bytes,
        )?;
        families.gauge(
            "slotway_event_stream_clients",
            "Clients of event streams",
            self.0.event_stream_clients,
        )?;
        families.counter(
            "slotway_event_streams",
            "Event streams begun",
            traffic.event_streams,
        )
    }
}

fn route_labels(route: &RouteView) -> Labels<'_, 2> {
    let label = &route.label;
    [("route", &*label.route), ("method", label.method)]
}

fn encode_process(families: &mut Families<'_>, started_ms: u64) -> fmt::Result {
    families.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
        started_ms as f64 / 1000.0,
    )?;
    let Some(process) = ProcessUse::read() else {
        return Ok(());
    };
    families.counter(
        "process_cpu_seconds",
        "Processor time, of user and system",
        process.cpu_seconds,
    )?;
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory",
            process.virtual_bytes,
        ),
        ("process_open_fds", "Open descriptors", process.open_fds),
        ("process_max_fds", "The most there may be", process.max_fds),
        ("process_threads", "Threads", process.threads),
    ];
    for (name, help, value) in gauges {
        families.gauge(name, help, value)?;
    }
    Ok(())
}
