//! `compare`: targets in, ratios and verdicts out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::files;
use crate::cli::load_flags::{LoadFlags, named, parse_duration, parse_share, parse_time};
use crate::cli::output::{EXIT_FAILURE, EXIT_GATE, EXIT_OK, EXIT_USAGE, fail, show};
use crate::cli::rate_flags::RateFlags;
use crate::cli::signals;
use crate::compare::baseline::Baseline;
use crate::compare::gate::{self, Gate};
use crate::compare::process::Process;
use crate::compare::render::{self, Page, Pair};
use crate::compare::rounds::{Contestant, CpuTime, Measured, Rounds, measure};
use crate::compare::verdict::judge;
use crate::environment::Environment;
use crate::limits::{LAG_SHARE_MAX_DEFAULT, ROUND_COUNT_DEFAULT, ROUND_COUNT_MIN, START_PATIENCE};
use crate::load::Stop;
use crate::load::plan::{Length, Plan};
use crate::load::run::run as run_load;
use crate::noise::Trust;
use crate::report::progress::Progress;
use crate::units;
use crate::workload::Workload;

/// Flags of a comparison. The first target is the reference of the others.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareFlags {
    /// URL of the reference, which is named "a" unless a name is given
    #[arg(long = "a", value_name = "[NAME=]URL")]
    first: Option<String>,

    /// URL of the target, which is named "b" unless a name is given
    #[arg(long = "b", value_name = "[NAME=]URL")]
    second: Option<String>,

    /// A further target; the first of all is the reference
    #[arg(long, value_name = "NAME=URL")]
    target: Vec<String>,

    /// A shell command that serves a target, ended with the comparison; its CPU
    /// time is compared too
    #[arg(long, value_name = "NAME=COMMAND")]
    start: Vec<String>,

    /// Rounds; each measures every target once
    #[arg(long, value_name = "N", default_value_t = ROUND_COUNT_DEFAULT,
          value_parser = clap::value_parser!(u32).range(i64::from(ROUND_COUNT_MIN)..=10_000))]
    rounds: u32,

    /// Time to measure a target in a round
    #[arg(short = 'd', long, value_name = "TIME", default_value = "2s")]
    duration: String,

    /// Time before measuring, in each round
    #[arg(long, value_name = "TIME", default_value = "300ms")]
    warmup: String,

    #[command(flatten)]
    rate: RateFlags,

    #[command(flatten)]
    load: LoadFlags,

    /// Say so when the generator's own lag is more than this share of the latencies
    #[arg(long, value_name = "SHARE", value_parser = parse_share, default_value_t = LAG_SHARE_MAX_DEFAULT)]
    lag_share_max: f64,

    /// Keep the rounds in a file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Compare with the rounds of a file: each target with its own name's, else
    /// with the first's
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// Exit with 3 if the rounds show this, like 'p99 worse > 5%' or 'any worse'; may be given
    /// again
    #[arg(long, value_name = "CONDITION")]
    fail_if: Vec<Gate>,

    /// Write a page with the ratios
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write the comparison as JSON; - is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A target as the flags name it.
struct Named {
    name: String,
    plan: Plan,
    command: Option<String>,
}

/// Runs the command; returns the exit code.
pub fn run(flags: &CompareFlags, arguments: &[String]) -> u8 {
    let (targets, baseline, engine_name) = match prepare(flags) {
        Ok(prepared) => prepared,
        Err(why) => return fail(EXIT_USAGE, why),
    };
    let signals = match signals::watch() {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_FAILURE, error),
    };
    let environment = Environment::look(engine_name, arguments.iter().cloned());
    let load = load_line(flags, &targets[0].plan);
    let measured = contest(flags, targets, &signals.stop);
    let reported = measured.and_then(|measured| {
        let failures = report(flags, &environment, &load, baseline.as_ref(), &measured)?;
        Ok((measured, failures))
    });
    if let Some(code) = signals.exit_code() {
        return match reported {
            Ok(_) if flags.fail_if.is_empty() => code,
            Ok(_) => fail(code, "ended by a signal: --fail-if was not judged"),
            Err(why) => fail(code, why),
        };
    }
    match reported {
        Ok((measured, failures)) => exit_code(&measured, &failures),
        Err(why) => fail(EXIT_FAILURE, why),
    }
}

fn exit_code(measured: &Measured, failures: &[String]) -> u8 {
    if let Some(silent) = measured.all.iter().find(|rounds| !rounds.has_answers()) {
        return fail(
            EXIT_FAILURE,
            format_args!(
                "{} gave no right response; see its URL, and --expect-status",
                silent.name
            ),
        );
    }
    for failure in failures {
        fail(EXIT_GATE, failure);
    }
    if let Some(why) = &measured.cut_short
        && failures.is_empty()
    {
        return fail(
            EXIT_FAILURE,
            format_args!("not all rounds were measured: {why}"),
        );
    }
    if failures.is_empty() {
        EXIT_OK
    } else {
        EXIT_GATE
    }
}

fn prepare(flags: &CompareFlags) -> Result<(Vec<Named>, Option<Baseline>, String), String> {
    let mut urls = Vec::new();
    for (name, url) in [("a", &flags.first), ("b", &flags.second)] {
        if let Some(url) = url {
            urls.push(named_or(name, url));
        }
    }
    for text in &flags.target {
        urls.push(named("--target", text, "NAME=URL")?);
    }
    let baseline = match &flags.baseline {
        Some(path) => Some(Baseline::load(path)?),
        None => None,
    };
    let least = if baseline.is_some() { 1 } else { 2 };
    if urls.len() < least {
        return Err(format!(
            "{} to compare; give at least {least}, by --a URL --b URL or --target NAME=URL",
            units::plural(urls.len() as u64, "target")
        ));
    }
    let mut commands = Vec::new();
    for text in &flags.start {
        let (name, command) = named("--start", text, "NAME=COMMAND")?;
        if !urls.iter().any(|(target, _)| *target == name) {
            return Err(format!("--start {name}: there is no target of that name"));
        }
        commands.push((name, command));
    }
    for path in [&flags.html, &flags.json, &flags.save]
        .into_iter()
        .flatten()
    {
        if path.as_os_str() != "-" {
            // A path that cannot be written is better known before the rounds.
            files::check(Some(path))?;
        }
    }
    let duration = Length::Time(parse_duration(&flags.duration)?);
    let duration = flags.rate.length(duration);
    let warmup = parse_time("--warmup", &flags.warmup, 3600.0)?;
    let (template, expected) = (flags.load.template()?, flags.load.expected());
    let (engine, engine_name) = flags.load.engine()?;
    let mut targets: Vec<Named> = Vec::new();
    for (name, url) in urls {
        if targets.iter().any(|target| target.name == name) {
            return Err(format!("two targets are named {name}"));
        }
        let workload = Workload::of_url(&url, &template, expected.clone())
            .map_err(|error| error.to_string())?;
        let command = commands.iter().find(|(target, _)| *target == name);
        targets.push(Named {
            plan: flags
                .load
                .plan(workload, engine, flags.rate.rate()?, warmup, duration)?,
            command: command.map(|(_, command)| command.clone()),
            name,
        });
    }
    Ok((targets, baseline, engine_name))
}

/// `NAME=URL`, or a URL alone. A name has no slash and no colon, which every URL has before
/// the first `=` that it may hold.
fn named_or(name: &str, text: &str) -> (String, String) {
    match text.split_once('=') {
        Some((own, url)) if !own.is_empty() && !own.contains(['/', ':']) => {
            (own.to_owned(), url.to_owned())
        }
        _ => (name.to_owned(), text.to_owned()),
    }
}

fn load_line(flags: &CompareFlags, plan: &Plan) -> String {
    let load = match &plan.rate {
        Some(rate) => format!(
            "open loop at {rate} requests/s, {} arrivals",
            rate.arrivals()
        ),
        None => "closed loop".to_owned(),
    };
    let length = match plan.length {
        Length::Time(time) => units::duration(time.as_nanos() as u64),
        Length::Count(count) => units::plural(count, "request"),
    };
    format!(
        "{} rounds of {length}, {load}, {}, {}, {}",
        flags.rounds,
        units::plural(plan.connection_count as u64, "connection"),
        units::plural(plan.thread_count as u64, "thread"),
        plan.engine,
    )
}

fn contest(
    flags: &CompareFlags,
    targets: Vec<Named>,
    stop: &Arc<Stop>,
) -> Result<Measured, String> {
    let mut contestants = Vec::new();
    for target in targets {
        let process = match &target.command {
            Some(command) => Some(
                Process::start(command, &target.plan.workload.address, stop)
                    .map_err(|error| error.to_string())?,
            ),
            None => None,
        };
        if process.is_some() {
            wait_for_an_answer(&target, stop)?;
        }
        let cpu_time = process.map(|process| -> CpuTime { Box::new(move || process.cpu_time()) });
        contestants.push(Contestant {
            name: target.name,
            plan: target.plan,
            cpu_time,
        });
    }
    let mut progress = Progress::new(&contestants[0].plan);
    let measured = measure(&contestants, flags.rounds, stop, |round, name| {
        progress.show(&format!("round {} of {}: {name}", round + 1, flags.rounds));
    });
    match &measured.cut_short {
        Some(why) if measured.all[0].rounds.is_empty() => {
            Err(format!("nothing was measured: {why}"))
        }
        _ => Ok(measured),
    }
}

/// A command may listen before it can answer: a hub whose worker is still to come,
/// for one. Waits until it has answered rightly once.
fn wait_for_an_answer(target: &Named, stop: &Arc<Stop>) -> Result<(), String> {
    let once = Plan {
        rate: None,
        thread_count: 1,
        connection_count: 1,
        connect_rate: None,
        warmup: Duration::ZERO,
        length: Length::Count(1),
        ..target.plan.clone()
    };
    let start = Instant::now();
    loop {
        let outcome = run_load(&once, stop, &mut ()).map_err(|failure| failure.to_string())?;
        if !outcome.total.latency.is_empty() {
            return Ok(());
        }
        if start.elapsed() > START_PATIENCE {
            let why = outcome.errors().foremost();
            return Err(format!(
                "{}: no valid response within {} s of its start, but: {}; see its URL, and --expect-status",
                target.name,
                START_PATIENCE.as_secs(),
                why.map_or("nothing".to_owned(), |kind| kind.to_string())
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Writes what came of it, and returns which conditions hold.
fn report(
    flags: &CompareFlags,
    environment: &Environment,
    load: &str,
    baseline: Option<&Baseline>,
    measured: &Measured,
) -> Result<Vec<String>, String> {
    let mut warnings = warnings(flags, measured);
    let mut all: Vec<&Rounds> = measured.all.iter().collect();
    let mut pairs: Vec<Pair<'_>> = measured.all[1..]
        .iter()
        .map(|rounds| {
            let reference = &measured.all[0];
            Pair::new(rounds, reference, reference.name.clone(), true)
        })
        .collect();
    if let Some(baseline) = baseline {
        warnings.extend(baseline.doubts(environment, load));
        for rounds in &measured.all {
            let reference = baseline.rounds_for(&rounds.name);
            let name = format!("{} {}", reference.name, baseline.when());
            pairs.push(Pair::new(rounds, reference, name, false));
        }
    }
    judge(pairs.iter_mut().flat_map(|pair| &mut pair.comparisons));
    let then = baseline.map_or(Vec::new(), Baseline::named_targets);
    all.extend(&then);
    let page = Page {
        all: &all,
        pairs: &pairs,
        load,
        warnings: &warnings,
        environment,
    };
    for (path, render) in [
        (&flags.html, render::page as fn(&Page<'_>) -> String),
        (&flags.json, render::json),
    ] {
        if let Some(path) = path.as_ref().filter(|path| path.as_os_str() != "-") {
            std::fs::write(path, render(&page))
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
    }
    if let Some(path) = &flags.save {
        Baseline::new(environment, load, &measured.all).save(path)?;
    }
    show(&if flags
        .json
        .as_deref()
        .is_some_and(|path| path.as_os_str() == "-")
    {
        render::json(&page)
    } else {
        format!("\n{}\n", render::terminal(&page))
    });
    Ok(gate::failures(&flags.fail_if, &pairs))
}

fn warnings(flags: &CompareFlags, measured: &Measured) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(why) = &measured.cut_short {
        warnings.push(format!(
            "PARTIAL, {}: {why}",
            units::plural(measured.all[0].rounds.len() as u64, "whole round")
        ));
    }
    for rounds in &measured.all {
        if rounds.error_count() > 0 {
            warnings.push(format!(
                "{} had {}: its figures are of what was left",
                rounds.name,
                units::plural(rounds.error_count(), "error")
            ));
        }
        if rounds.unsent_count() > 0 {
            warnings.push(format!(
                "{} did not reach the rate, {} were due and never sent: its latencies are of a queue that only grew; lower --rate or raise -c",
                rounds.name,
                units::plural(rounds.unsent_count(), "request")
            ));
        }
    }
    let trust = Trust::judge(&measured.latency, &measured.lag, flags.lag_share_max);
    if let Some(why) = trust.distrust() {
        warnings.push(format!(
            "the latencies hold the generator's lag, which draws ratios towards 1: a difference that is seen is larger without it; {why}"
        ));
    }
    warnings
}
