//! `sweep`: curves of latency over chosen rates, of one target or of several in one picture.

use std::sync::Arc;

use crate::cli::curve_files::CurveFileFlags;
use crate::cli::find_command::warnings;
use crate::cli::load_flags::{LoadFlags, named, parse_duration, parse_share, parse_time};
use crate::cli::output::{EXIT_FAILURE, EXIT_OK, EXIT_USAGE, fail};
use crate::cli::signals;
use crate::curve::render::{Curve, Page, Step};
use crate::curve::step;
use crate::environment::Environment;
use crate::limits::LAG_SHARE_MAX_DEFAULT;
use crate::load::plan::{Length, Plan};
use crate::load::{RunFailure, Stop};
use crate::report::progress::Progress;
use crate::schedule::parse_rate;
use crate::units;
use crate::workload::Workload;

/// Flags of a sweep.
#[derive(Clone, Debug, clap::Args)]
pub struct SweepFlags {
    #[arg(
        value_name = "URL",
        required_unless_present = "target",
        help = "What to ask: http://host:port/path, or unix:/path/to/socket:/path"
    )]
    url: Option<String>,

    /// A further target; each rate is measured on one after the other
    #[arg(long, value_name = "NAME=URL")]
    target: Vec<String>,

    /// Rates, like 1k,2k,5k
    #[arg(long, value_name = "RATES", required = true, value_delimiter = ',', value_parser = parse_rate)]
    rate: Vec<f64>,

    /// Time to measure a rate
    #[arg(short = 'd', long, value_name = "TIME", default_value = "5s")]
    duration: String,

    /// Time before measuring, for each rate
    #[arg(long, value_name = "TIME", default_value = "500ms")]
    warmup: String,

    #[command(flatten)]
    load: LoadFlags,

    /// Say so when the generator's own lag is more than this share of the latencies
    #[arg(long, value_name = "SHARE", value_parser = parse_share, default_value_t = LAG_SHARE_MAX_DEFAULT)]
    lag_share_max: f64,

    #[command(flatten)]
    files: CurveFileFlags,
}

/// Runs the command; returns the exit code.
pub fn run(flags: &SweepFlags, arguments: &[String]) -> u8 {
    let (targets, engine_name) = match prepare(flags) {
        Ok(prepared) => prepared,
        Err(why) => return fail(EXIT_USAGE, why),
    };
    let signals = match signals::watch() {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_FAILURE, error),
    };
    let environment = Environment::look(engine_name, arguments.iter().cloned());
    let (curves, failure) = sweep(flags, &targets, &signals.stop);
    if let Some(why) = &failure
        && curves.iter().all(|curve| curve.steps.is_empty())
    {
        return fail(signals.exit_code().unwrap_or(EXIT_FAILURE), why);
    }
    let plan = &targets[0].1;
    let load = format!(
        "open loop, {} for each rate, {}, {}, {}",
        flags.duration,
        units::plural(plan.connection_count as u64, "connection"),
        units::plural(plan.thread_count as u64, "thread"),
        plan.engine,
    );
    let partial = failure.as_ref().map(|why| format!("PARTIAL: {why}"));
    let warnings: Vec<_> = partial
        .into_iter()
        .chain(curves.iter().flat_map(warnings))
        .collect();
    let written = flags.files.write(&Page {
        load: &load,
        goal: None,
        limit: None,
        curves: &curves,
        warnings: &warnings,
        environment: &environment,
    });
    match written {
        Err(why) => fail(EXIT_FAILURE, why),
        Ok(()) if failure.is_some() => signals.exit_code().unwrap_or(EXIT_FAILURE),
        Ok(()) => EXIT_OK,
    }
}

fn prepare(flags: &SweepFlags) -> Result<(Vec<(String, Plan)>, String), String> {
    let mut urls: Vec<(String, String)> = Vec::new();
    urls.extend(flags.url.iter().map(|url| (url.clone(), url.clone())));
    for text in &flags.target {
        urls.push(named("--target", text, "NAME=URL")?);
    }
    let (engine, engine_name) = flags.load.engine()?;
    let warmup = parse_time("--warmup", &flags.warmup, 3600.0)?;
    let duration = Length::Time(parse_duration(&flags.duration)?);
    let (template, expected) = (flags.load.template()?, flags.load.expected());
    let mut targets: Vec<(String, Plan)> = Vec::new();
    for (name, url) in urls {
        if targets.iter().any(|(other, _)| *other == name) {
            return Err(format!("two targets are named {name}"));
        }
        let workload = Workload::of_url(&url, &template, expected.clone())
            .map_err(|error| error.to_string())?;
        let plan = flags.load.plan(workload, engine, None, warmup, duration)?;
        targets.push((name, plan));
    }
    flags.files.check()?;
    Ok((targets, engine_name))
}

/// What was measured, and why that is not all, if it is not.
fn sweep(
    flags: &SweepFlags,
    targets: &[(String, Plan)],
    stop: &Arc<Stop>,
) -> (Vec<Curve>, Option<RunFailure>) {
    let mut rates = flags.rate.clone();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    let mut curves: Vec<Curve> = targets
        .iter()
        .map(|(name, _)| Curve {
            name: name.clone(),
            steps: Vec::new(),
        })
        .collect();
    let mut progress = Progress::new(&targets[0].1);
    for rate in rates {
        for ((name, plan), curve) in targets.iter().zip(&mut curves) {
            let shown = units::count(rate.round() as u64);
            progress.show(&format!("{shown} requests/s: {name}"));
            match step::measure(plan, rate, flags.lag_share_max, stop) {
                Ok(figures) => curve.steps.push(Step {
                    figures,
                    miss: None,
                }),
                Err(failure) => return (curves, Some(failure)),
            }
        }
    }
    (curves, None)
}
