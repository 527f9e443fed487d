//! The text of a configuration file, and the places in it.

use std::ops::Range;
use std::path::Path;

use super::problem::Problem;

/// A text with its place, for messages.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    /// The line of a place, counted from 1.
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
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
