//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, and the line if it is about one.
    pub place: Option<(PathBuf, Option<usize>)>,
    /// The key, or the flag.
    pub key: Option<String>,
    /// What is wrong, and what was expected.
    pub why: String,
}

impl Problem {
    /// Of no one place.
    pub fn of_all(why: impl fmt::Display) -> Self {
        Self {
            place: None,
            key: None,
            why: why.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, line)) = &self.place {
            write!(f, "{}", path.display())?;
            if let Some(line) = line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.why)
    }
}

/// The known word that is most like one, for "did you mean".
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    /// Less alike than this is another word.
    const ALIKE: f64 = 0.7;
    let rated = known.map(|known| (strsim::jaro_winkler(word, known), known));
    let best = rated.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(alike, _)| *alike > ALIKE)
        .map(|(_, known)| known)
}
