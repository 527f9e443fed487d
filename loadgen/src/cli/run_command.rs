//! One run: load, report, files, gates.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::files::{self, FileFlags};
use crate::cli::load_flags::{LoadFlags, parse_duration, parse_share, parse_time};
use crate::cli::output::{EXIT_FAILURE, EXIT_GATE, EXIT_OK, EXIT_USAGE, fail};
use crate::cli::rate_flags::RateFlags;
use crate::cli::signals;
use crate::environment::Environment;
use crate::gate::Gate;
use crate::limits::{
    DURATION_SECONDS_DEFAULT, DURATION_SECONDS_MAX, LAG_SHARE_MAX_DEFAULT, NOISE_SECONDS_DEFAULT,
    WARMUP_SECONDS_DEFAULT,
};
use crate::load::outcome::{Outcome, Point};
use crate::load::plan::{Length, Observer, Plan};
use crate::load::run::run as run_load;
use crate::load::{ErrorKind, Interval, RunFailure, Stop};
use crate::noise::{self, NoiseFloor, Trust};
use crate::report::Report;
use crate::report::described::DescribedPlan;
use crate::report::hlog::HistogramLog;
use crate::report::progress::Progress;
use crate::report::view::{View, Watching};
use crate::units::duration;
use crate::workload::Workload;

/// Flags of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunFlags {
    #[arg(
        value_name = "URL",
        help = "What to ask: http://host:port/path, ws:// for messages of WebSocket that come back, or unix:/path/to/socket:/path"
    )]
    #[arg(required_unless_present = "urls")]
    url: Option<String>,

    /// Several URLs: a file of lines [WEIGHT] [METHOD] URL
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    urls: Option<PathBuf>,

    /// Time to measure
    #[arg(short = 'd', long, value_name = "TIME", default_value_t = format!("{DURATION_SECONDS_DEFAULT}s"))]
    duration: String,

    /// Measure so many requests instead of a time
    #[arg(short = 'n', long, value_name = "N", conflicts_with_all = ["duration", "profile"])]
    requests: Option<u64>,

    /// Time before measuring
    #[arg(long, value_name = "TIME", default_value_t = format!("{WARMUP_SECONDS_DEFAULT}s"))]
    warmup: String,

    #[command(flatten)]
    rate: RateFlags,

    #[command(flatten)]
    load: LoadFlags,

    /// Follow an event stream on each connection: events per second, and the delay of each
    /// whose data holds a Unix time (ms, µs, ns, or seconds with a fraction)
    #[arg(long, conflicts_with_all = ["requests", "rate", "profile", "spin", "requests_per_connection", "expect_bytes", "expect_sha256"])]
    sse: bool,

    /// Time for each part of the noise floor before the run; 0 leaves it out
    #[arg(long, value_name = "TIME", default_value_t = format!("{NOISE_SECONDS_DEFAULT}s"))]
    noise_floor: String,

    /// Mark latencies as untrustworthy when the generator's own lag is more than
    /// this share of them
    #[arg(long, value_name = "SHARE", value_parser = parse_share, default_value_t = LAG_SHARE_MAX_DEFAULT)]
    lag_share_max: f64,

    #[command(flatten)]
    files: FileFlags,

    /// Write a log of interval histograms for the tools of HDR histograms
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    hlog: Option<PathBuf>,

    /// How the run is watched
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value_t,
        help_heading = "Reports"
    )]
    progress: Watching,

    /// Exit with 3 if this holds, like 'p99>2ms' or 'errors>0'; may be given again
    #[arg(long, value_name = "CONDITION", help_heading = "Reports")]
    fail_if: Vec<Gate>,
}

/// Runs the command; returns the exit code.
pub fn run(flags: &RunFlags, arguments: &[String]) -> u8 {
    let prepared = prepare(flags);
    let (plan, noise_time, engine_name) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return fail(EXIT_USAGE, why),
    };
    let opened = flags
        .files
        .create()
        .and_then(|files| Ok((files, files::create(flags.hlog.as_deref())?)));
    let (files, log) = match opened {
        Ok(opened) => opened,
        Err(why) => return fail(EXIT_USAGE, why),
    };
    let signals = match signals::watch() {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_FAILURE, error),
    };
    let unmeasured =
        |failure: RunFailure| fail(signals.exit_code().unwrap_or(EXIT_FAILURE), failure);
    let noise = match measure_noise(&plan, noise_time, &signals.stop, flags.progress) {
        Ok(noise) => noise,
        Err(failure) => return unmeasured(failure),
    };
    let target = target_name(flags, &plan);
    let mut observer = RunObserver {
        view: View::start(flags.progress, &plan, &target),
        log: log.map(|file| HistogramLog::new(BufWriter::new(file))),
        log_error: None,
    };
    let outcome = match run_load(&plan, &signals.stop, &mut observer) {
        Ok(outcome) => outcome,
        Err(failure) => return unmeasured(failure),
    };
    let log_error = observer.log_error.take();
    drop(observer);
    let environment = Environment::look(engine_name, arguments.iter().cloned());
    let report = Report {
        plan: &DescribedPlan::of(&plan, &target),
        outcome: &outcome,
        noise: noise.as_ref(),
        trust: &Trust::judge(
            &outcome.total.latency,
            &outcome.total.lag,
            flags.lag_share_max,
        ),
        environment: &environment,
    };
    if let Err(error) = files.write(&report) {
        return fail(EXIT_FAILURE, format_args!("cannot write a report: {error}"));
    }
    if let Some(error) = log_error {
        return fail(
            EXIT_FAILURE,
            format_args!("cannot write the --hlog file: {error}"),
        );
    }
    match signals.exit_code() {
        Some(code) if flags.fail_if.is_empty() => code,
        Some(code) => fail(code, "ended by a signal: --fail-if was not judged"),
        None => judge(flags, &plan, &outcome),
    }
}

/// What the user calls what is asked.
fn target_name(flags: &RunFlags, plan: &Plan) -> String {
    flags.url.clone().unwrap_or_else(|| {
        let file = flags.urls.as_deref();
        let file = file.map_or(String::new(), |path| path.display().to_string());
        format!("{} URLs of {file}", plan.workload.requests.len())
    })
}

fn prepare(flags: &RunFlags) -> Result<(Plan, Duration, String), String> {
    let (mut template, expected) = (flags.load.template()?, flags.load.expected());
    if flags.sse {
        template.accept_events();
    }
    let workload = match (&flags.url, &flags.urls) {
        (_, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("--urls {}: {error}", path.display()))?;
            Workload::of_file(&text, &template, expected)
        }
        (Some(url), None) => Workload::of_url(url, &template, expected),
        (None, None) => return Err("no URL".to_owned()),
    };
    let workload = workload.map_err(|error| error.to_string())?;
    let length = match flags.requests {
        Some(count) => Length::Count(count),
        None => Length::Time(parse_duration(&flags.duration)?),
    };
    let length = flags.rate.length(length);
    flags.progress.check()?;
    let warmup = parse_time("--warmup", &flags.warmup, DURATION_SECONDS_MAX)?;
    let noise_time = parse_time("--noise-floor", &flags.noise_floor, 60.0)?;
    let (engine, engine_name) = flags.load.engine()?;
    let mut plan = flags
        .load
        .plan(workload, engine, flags.rate.rate()?, warmup, length)?;
    plan.follows_streams = flags.sse;
    // The echo sends no events.
    let noise_time = if flags.sse {
        Duration::ZERO
    } else {
        noise_time
    };
    Ok((plan, noise_time, engine_name))
}

/// The noise floor, unless it is left out. It is not worth the run: what goes
/// wrong there is said, and the run goes on without.
fn measure_noise(
    plan: &Plan,
    time: Duration,
    stop: &Arc<Stop>,
    watching: Watching,
) -> Result<Option<NoiseFloor>, RunFailure> {
    if time.is_zero() {
        return Ok(None);
    }
    let mut progress = Progress::new(plan);
    if watching != Watching::None {
        progress.show(
            "measuring the noise floor: this machine's own lag, and an echo at the same rate",
        );
    }
    match noise::measure(plan, time, stop) {
        Ok(noise) => Ok(Some(noise)),
        Err(RunFailure::Stopped) => Err(RunFailure::Stopped),
        Err(failure) => {
            drop(progress);
            eprintln!("slotway-loadgen: without a noise floor, since {failure}");
            Ok(None)
        }
    }
}

struct RunObserver {
    view: View,
    log: Option<HistogramLog<BufWriter<File>>>,
    log_error: Option<std::io::Error>,
}

impl Observer for RunObserver {
    fn started(&mut self, plan: &Plan) {
        self.view.started(plan);
    }

    fn interval(&mut self, point: &Point, interval: &Interval, so_far: &Outcome) {
        self.view.interval(point, interval, so_far);
        if let Some(log) = &mut self.log
            && let Err(error) = log.append(so_far.began, point, &interval.latency)
        {
            self.log_error.get_or_insert(error);
        }
    }
}

fn judge(flags: &RunFlags, plan: &Plan, outcome: &Outcome) -> u8 {
    let failures: Vec<_> = flags
        .fail_if
        .iter()
        .filter_map(|gate| gate.failure(outcome))
        .collect();
    for failure in &failures {
        eprintln!("slotway-loadgen: {failure}");
    }
    if outcome.right_share().unwrap_or(0.0) <= 0.0 {
        return fail(EXIT_FAILURE, nothing_answered(plan, outcome));
    }
    if failures.is_empty() {
        EXIT_OK
    } else {
        EXIT_GATE
    }
}

/// Why there is no right answer at all, and what to do.
fn nothing_answered(plan: &Plan, outcome: &Outcome) -> String {
    let address = &plan.workload.address;
    let why = match outcome.errors().foremost() {
        None if outcome.streams.is_some() => {
            return "no event came; does anything send them, and is -d long enough?".to_owned();
        }
        None if outcome.partial.is_some() => "the run ended before the first response".to_owned(),
        None => "the run was over before the first response; raise -d or --rate".to_owned(),
        Some(ErrorKind::Refused) => format!("{address} refuses connections; is the server up?"),
        Some(ErrorKind::Connect) => format!("{address} cannot be connected to; check the address"),
        Some(ErrorKind::Tls) => {
            format!("{address} does not agree on TLS; check the name, and --cacert or --insecure")
        }
        Some(ErrorKind::Reset | ErrorKind::Closed) => format!(
            "{address} closed the connections without a response; is it an HTTP server, and do its limits let us in?"
        ),
        Some(ErrorKind::Timeout) => format!(
            "{address} did not answer within {}; raise --timeout, or look at the server",
            duration(plan.timeout.as_nanos() as u64)
        ),
        Some(ErrorKind::Malformed(why)) => format!(
            "what answers at {address} is no HTTP/1.1 ({why}); check the port, and whether it speaks TLS"
        ),
        Some(ErrorKind::Echo) => {
            "other messages came back than were sent; is it an echo?".to_owned()
        }
        Some(ErrorKind::NoEventStream) => {
            "what answers is no event stream (text/event-stream); check the path".to_owned()
        }
        Some(ErrorKind::StreamEnded) => {
            "event streams ended before any event came; look at the server".to_owned()
        }
        Some(ErrorKind::Status(status)) => format!(
            "responses had status {status}; check the path and method, or say --expect-status {status}"
        ),
        Some(kind @ (ErrorKind::BodyLength | ErrorKind::BodyHash)) => {
            format!("responses had a {kind}; check --expect-bytes and --expect-sha256")
        }
    };
    format!("no request was answered rightly: {why}")
}
