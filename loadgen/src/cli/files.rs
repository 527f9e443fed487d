//! Where a report goes: flags, files that are opened before there is anything to write, and
//! the terminal.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::output::show;
use crate::report::{Report, hgrm, html, json, terminal};

/// Flags that say what is written of a report.
#[derive(Clone, Debug, clap::Args)]
pub struct FileFlags {
    /// Write a page with charts
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub html: Option<PathBuf>,

    /// Write the figures as JSON; - is standard output, in place of the table
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json: Option<PathBuf>,

    /// Write the percentiles for the HDR histogram plotter
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub hgrm: Option<PathBuf>,
}

/// Files opened before the run, so that a wrong path is known at once.
pub struct Files {
    html: Option<File>,
    json: Option<File>,
    hgrm: Option<File>,
    json_is_shown: bool,
}

/// Opens a file, if there is to be one.
pub fn create(path: Option<&Path>) -> Result<Option<File>, String> {
    path.map(|path| {
        File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
    })
    .transpose()
}

/// Fails if a file could not be written; what is in it stays until there is more to write.
pub fn check(path: Option<&Path>) -> Result<(), String> {
    path.map_or(Ok(()), |path| {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    })
}

impl FileFlags {
    /// Opens the files.
    pub fn create(&self) -> Result<Files, String> {
        let json_is_shown = self
            .json
            .as_deref()
            .is_some_and(|path| path.as_os_str() == "-");
        let json_path = self.json.as_deref().filter(|_| !json_is_shown);
        Ok(Files {
            html: create(self.html.as_deref())?,
            json: create(json_path)?,
            hgrm: create(self.hgrm.as_deref())?,
            json_is_shown,
        })
    }
}

impl Files {
    /// Writes and shows a report.
    pub fn write(self, report: &Report<'_>) -> std::io::Result<()> {
        let pieces = [
            (self.html, html::render as fn(&Report<'_>) -> String),
            (self.json, json::render),
            (self.hgrm, |report| {
                hgrm::render(&report.outcome.total.latency)
            }),
        ];
        for (file, render) in pieces {
            if let Some(mut file) = file {
                file.write_all(render(report).as_bytes())?;
            }
        }
        show(&if self.json_is_shown {
            json::render(report)
        } else {
            format!("\n{}\n", terminal::render(report))
        });
        Ok(())
    }
}
