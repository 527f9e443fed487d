//! `report` and `merge`: reports that were written as JSON, drawn again or added up.

use std::path::PathBuf;

use crate::cli::files::FileFlags;
use crate::cli::output::{EXIT_FAILURE, EXIT_OK, EXIT_USAGE, fail};
use crate::report::merge::merge;
use crate::report::saved::Saved;

/// Flags of both commands.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportFlags {
    /// What --json has written
    #[arg(value_name = "FILE", required = true)]
    reports: Vec<PathBuf>,

    #[command(flatten)]
    files: FileFlags,
}

/// Draws one report again.
pub fn run_report(flags: &ReportFlags) -> u8 {
    if flags.reports.len() > 1 {
        return fail(EXIT_USAGE, "report draws one file; `merge` adds several");
    }
    run(flags)
}

/// Adds reports.
pub fn run_merge(flags: &ReportFlags) -> u8 {
    if flags.reports.len() < 2 {
        return fail(
            EXIT_USAGE,
            "merge needs two files; `report` draws one again",
        );
    }
    run(flags)
}

fn run(flags: &ReportFlags) -> u8 {
    let saved: Result<Vec<_>, _> = flags.reports.iter().map(|path| Saved::read(path)).collect();
    let saved = saved.and_then(|mut saved| {
        if saved.len() > 1 {
            merge(&saved)
        } else {
            saved.pop().ok_or_else(|| "no report".to_owned())
        }
    });
    // A report that cannot be read must not empty the files of another.
    let opened = saved.and_then(|saved| Ok((saved, flags.files.create()?)));
    let (saved, files) = match opened {
        Ok(opened) => opened,
        Err(why) => return fail(EXIT_USAGE, why),
    };
    match saved.with_report(|report| files.write(report)) {
        Ok(()) => EXIT_OK,
        Err(error) => fail(EXIT_FAILURE, format_args!("cannot write a report: {error}")),
    }
}
