//! `find`: the highest rate that holds a goal, and the curve around it.

use std::sync::Arc;

use crate::cli::curve_files::CurveFileFlags;
use crate::cli::load_flags::{LoadFlags, parse_duration, parse_share, parse_time};
use crate::cli::output::{EXIT_FAILURE, EXIT_GATE, EXIT_OK, EXIT_USAGE, fail};
use crate::cli::signals;
use crate::curve::goal::Goal;
use crate::curve::render::{Curve, Page, Step};
use crate::curve::search::{self, Limit};
use crate::curve::step::{self, Figures};
use crate::environment::Environment;
use crate::limits::{LAG_SHARE_MAX_DEFAULT, RATE_MAX, RIGHT_SHARE_MIN};
use crate::load::Stop;
use crate::load::plan::{Length, Plan};
use crate::report::progress::Progress;
use crate::schedule::parse_rate;
use crate::units;
use crate::workload::Workload;

/// Rates of the curve, as parts of the limit.
const CURVE: [f64; 10] = [0.1, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.15];
/// The first rate is this part of the throughput of a closed loop.
const GUESS: f64 = 0.8;
/// No rate below this is tried.
const LOWEST_RATE: f64 = 10.0;

/// Flags of the search.
#[derive(Clone, Debug, clap::Args)]
pub struct FindFlags {
    #[arg(
        value_name = "URL",
        help = "What to ask: http://host:port/path, or unix:/path/to/socket:/path"
    )]
    url: String,

    /// Goal: the median is at most this
    #[arg(long, value_name = "TIME")]
    p50: Option<String>,

    /// Goal: the 99th percentile is at most this
    #[arg(long, value_name = "TIME", required_unless_present_any = ["p50", "p999"])]
    p99: Option<String>,

    /// Goal: the 99.9th percentile is at most this
    #[arg(long = "p99.9", id = "p999", value_name = "TIME")]
    p99_9: Option<String>,

    /// Time to measure a rate; each is measured two or three times
    #[arg(short = 'd', long, value_name = "TIME", default_value = "2s")]
    duration: String,

    /// Time before measuring, for each rate
    #[arg(long, value_name = "TIME", default_value = "300ms")]
    warmup: String,

    /// The search ends when the rates that hold and that do not are so close
    #[arg(long, value_name = "SHARE", default_value_t = 0.02)]
    precision: f64,

    /// No rate above this is tried
    #[arg(long, value_name = "RATE", value_parser = parse_rate, default_value_t = RATE_MAX)]
    max_rate: f64,

    #[command(flatten)]
    load: LoadFlags,

    /// Say so when the generator's own lag is more than this share of the latencies
    #[arg(long, value_name = "SHARE", value_parser = parse_share, default_value_t = LAG_SHARE_MAX_DEFAULT)]
    lag_share_max: f64,

    #[command(flatten)]
    files: CurveFileFlags,
}

/// Runs the command; returns the exit code: 3 if no rate holds the goal.
pub fn run(flags: &FindFlags, arguments: &[String]) -> u8 {
    let (plan, goal, engine_name) = match prepare(flags) {
        Ok(prepared) => prepared,
        Err(why) => return fail(EXIT_USAGE, why),
    };
    let signals = match signals::watch() {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_FAILURE, error),
    };
    let environment = Environment::look(engine_name, arguments.iter().cloned());
    let mut finder = Finder {
        flags,
        plan: &plan,
        goal: &goal,
        stop: &signals.stop,
        progress: Progress::new(&plan),
        measured: Vec::new(),
    };
    let found = finder.find();
    let curve = finder.curve();
    drop(finder);
    // What was measured before the end is shown.
    let (limit, failure) = match found {
        Ok(limit) => (Some(limit), None),
        Err(why) if curve.steps.is_empty() => {
            return fail(signals.exit_code().unwrap_or(EXIT_FAILURE), why);
        }
        Err(why) => (None, Some(why)),
    };
    let mut warnings = warnings(&curve);
    if let Some(why) = &failure {
        warnings.insert(0, format!("PARTIAL, no limit was found: {why}"));
    }
    let written = flags.files.write(&Page {
        load: &load_line(flags, &plan),
        goal: Some(goal.to_string()),
        limit,
        curves: &[curve],
        warnings: &warnings,
        environment: &environment,
    });
    match (written, signals.exit_code(), limit) {
        (Err(why), ..) => fail(EXIT_FAILURE, why),
        (Ok(()), Some(code), _) => code,
        (Ok(()), None, None) => EXIT_FAILURE,
        (Ok(()), None, Some(limit)) if limit.holds.is_none() => EXIT_GATE,
        (Ok(()), None, Some(_)) => EXIT_OK,
    }
}

fn prepare(flags: &FindFlags) -> Result<(Plan, Goal, String), String> {
    let time = |name: &str, text: &Option<String>| {
        let parse = |text: &String| parse_time(name, text, 60.0);
        text.as_ref().map(parse).transpose()
    };
    let goal = Goal {
        p50: time("--p50", &flags.p50)?,
        p99: time("--p99", &flags.p99)?,
        p99_9: time("--p99.9", &flags.p99_9)?,
    };
    if !(0.001..=0.5).contains(&flags.precision) {
        return Err("--precision: expected a share from 0.001 to 0.5".to_owned());
    }
    let workload = Workload::of_url(&flags.url, &flags.load.template()?, flags.load.expected());
    let (engine, engine_name) = flags.load.engine()?;
    let plan = flags.load.plan(
        workload.map_err(|error| error.to_string())?,
        engine,
        None,
        parse_time("--warmup", &flags.warmup, 3600.0)?,
        Length::Time(parse_duration(&flags.duration)?),
    )?;
    flags.files.check()?;
    Ok((plan, goal, engine_name))
}

struct Finder<'a> {
    flags: &'a FindFlags,
    plan: &'a Plan,
    goal: &'a Goal,
    stop: &'a Arc<Stop>,
    progress: Progress,
    measured: Vec<Figures>,
}

impl Finder<'_> {
    fn find(&mut self) -> Result<Limit, String> {
        self.progress
            .show("a closed loop first: about what can it do?");
        let closed = step::closed_loop(self.plan, self.stop).map_err(|why| why.to_string())?;
        let share = closed.right_share().unwrap_or(0.0);
        if share < RIGHT_SHARE_MIN {
            let why = closed.errors().foremost();
            return Err(format!(
                "only {} of the responses are right, at whatever rate ({}); see the URL, and --expect-status",
                units::share(share),
                why.map_or("no response".to_owned(), |kind| kind.to_string())
            ));
        }
        let lowest = LOWEST_RATE.min(self.flags.max_rate);
        let limit = search::find(
            GUESS * closed.rate(),
            (lowest, self.flags.max_rate),
            self.flags.precision,
            |rate| {
                let figures = self.measure(rate)?;
                Ok::<_, String>(self.goal.miss(&figures).is_none())
            },
        )?;
        if let Some(holds) = limit.holds {
            for part in CURVE {
                self.measure((holds * part).clamp(lowest, self.flags.max_rate))?;
            }
        }
        Ok(limit)
    }

    fn measure(&mut self, rate: f64) -> Result<Figures, String> {
        self.progress.show(&format!(
            "{} requests/s, measurement {}",
            units::count(rate.round() as u64),
            self.measured.len() + 1
        ));
        let figures = step::measure(self.plan, rate, self.flags.lag_share_max, self.stop)
            .map_err(|why| why.to_string())?;
        self.measured.push(figures.clone());
        Ok(figures)
    }

    /// All that was measured, by rate: of the measurements of one rate the one in the middle.
    fn curve(&self) -> Curve {
        let mut all = self.measured.clone();
        all.sort_by(|a, b| a.rate.total_cmp(&b.rate).then(a.p99_ns.cmp(&b.p99_ns)));
        let steps = all
            .chunk_by(|a, b| (a.rate - b.rate).abs() < 1e-6)
            .map(|same| {
                let figures = same[(same.len() - 1) / 2].clone();
                Step {
                    miss: self.goal.miss(&figures),
                    figures,
                }
            })
            .collect();
        Curve {
            name: self.flags.url.clone(),
            steps,
        }
    }
}

fn load_line(flags: &FindFlags, plan: &Plan) -> String {
    format!(
        "{}, open loop, {} for each rate, {}, {}, {}",
        flags.url,
        flags.duration,
        units::plural(plan.connection_count as u64, "connection"),
        units::plural(plan.thread_count as u64, "thread"),
        plan.engine,
    )
}

/// What a reader of a curve has to know.
pub fn warnings(curve: &Curve) -> Vec<String> {
    let doubtful = curve
        .steps
        .iter()
        .filter(|step| !step.figures.trustworthy)
        .count();
    if doubtful == 0 {
        return Vec::new();
    }
    vec![format!(
        "{}: at {} of {} the generator's own lag is a large part of p50 or p99, so the target is better than that",
        curve.name,
        units::plural(doubtful as u64, "rate"),
        curve.steps.len()
    )]
}
