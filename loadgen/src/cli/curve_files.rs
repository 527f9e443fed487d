//! Where curves go: flags, and the files and the terminal that they are written to.

use std::path::PathBuf;

use crate::cli::files;
use crate::cli::output::show;
use crate::curve::render::{self, Page};

/// Flags that say what is written of curves.
#[derive(Clone, Debug, clap::Args)]
pub struct CurveFileFlags {
    /// Write a page with the curve
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write the curve as JSON; - is standard output, in place of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl CurveFileFlags {
    fn json_is_shown(&self) -> bool {
        self.json
            .as_deref()
            .is_some_and(|path| path.as_os_str() == "-")
    }

    /// Fails if a file cannot be written, which is better known before the load.
    pub fn check(&self) -> Result<(), String> {
        files::check(self.html.as_deref())?;
        if !self.json_is_shown() {
            files::check(self.json.as_deref())?;
        }
        Ok(())
    }

    /// Writes and shows curves.
    pub fn write(&self, page: &Page<'_>) -> Result<(), String> {
        let write = |path: &PathBuf, text: String| {
            std::fs::write(path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))
        };
        if let Some(path) = &self.html {
            write(path, render::page(page))?;
        }
        if self.json_is_shown() {
            show(&render::json(page));
            return Ok(());
        }
        if let Some(path) = &self.json {
            write(path, render::json(page))?;
        }
        show(&format!("\n{}\n", render::terminal(page)));
        Ok(())
    }
}
