//! The text of a configuration file, and the places in it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::problem::Problem;
use crate::limits::CONFIG_BYTES_MAX;

/// A text with its place, for messages.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
    /// Where its lines end.
    ends: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Of a file.
    pub fn new(path: &'a Path, text: &'a str) -> Self {
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
        Self { path, text, ends }
    }

    /// The line of a place, counted from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        self.ends.partition_point(|end| *end < span.start) + 1
    }

    /// Something is wrong there.
    pub fn problem(&self, span: &Range<usize>, key: &str, why: impl Into<String>) -> Problem {
        Problem {
            place: Some((self.path.to_owned(), Some(self.line(span)))),
            key: Some(key.to_owned()),
            why: why.into(),
        }
    }
}

/// Reads a regular file of at most `CONFIG_BYTES_MAX` bytes. The error says what is wrong.
pub fn read(path: &Path) -> io::Result<String> {
    let file = File::options()
        .read(true)
        // One that nobody writes to must not be waited for.
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is larger than {CONFIG_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}
