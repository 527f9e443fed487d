//! A route's path pattern, in parts.
//!
//! A pattern is a path whose segments are literal, or have one parameter: `{name}` for
//! a whole segment, `pre{name}post` for what stands between, `{*name}` as the last
//! segment for all that follows. `{{` and `}}` are braces. A parameter matches at least
//! one byte.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use slotway_shm_proto::limits::ROUTE_PARAM_COUNT_MAX;

/// One segment of a pattern, without the names of parameters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// Matches itself.
    Literal(Box<str>),
    /// Matches what begins and ends so, with something in between.
    Affixed {
        /// What comes before the parameter.
        prefix: Box<str>,
        /// What comes behind it; not empty if the prefix is.
        suffix: Box<str>,
    },
    /// Matches any segment that is not empty.
    Param,
    /// Matches all that is left, if that is not empty.
    CatchAll,
}

impl Segment {
    /// Whether this one, which is no catch-all, matches every segment that `other` does.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Param, Self::Literal(text)) => !text.is_empty(),
            (Self::Param, Self::Affixed { .. } | Self::Param) => true,
            (Self::Affixed { prefix, suffix }, Self::Literal(text)) => {
                text.len() > prefix.len() + suffix.len()
                    && text.starts_with(&**prefix)
                    && text.ends_with(&**suffix)
            }
            (
                Self::Affixed { prefix, suffix },
                Self::Affixed {
                    prefix: before,
                    suffix: behind,
                },
            ) => before.starts_with(&**prefix) && behind.ends_with(&**suffix),
            _ => self == other && *other != Self::CatchAll,
        }
    }
}

/// A checked pattern; cheap to clone. Two are the same if their texts are.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    segments: Arc<[Segment]>,
    names: Arc<[Box<str>]>,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no path.
    #[error("the path does not start with /")]
    NoSlash,
    /// `{` without `}`, or the other way round.
    #[error("unbalanced brace; write {{{{ and }}}} for literal braces")]
    Brace,
    /// `{}` or `{*}`, or a name with a brace, a star or a slash.
    #[error("a parameter needs a name without braces, stars and slashes")]
    Name,
    /// `{a}{b}`.
    #[error("a segment may have only one parameter")]
    TwoInSegment,
    /// `{*rest}` with something around or behind it.
    #[error("{{*name}} must be the whole last segment")]
    CatchAll,
    /// Too many parameters.
    #[error("the path has more than {ROUTE_PARAM_COUNT_MAX} parameters")]
    TooMany,
}

impl Pattern {
    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let rest = text.strip_prefix('/').ok_or(PatternError::NoSlash)?;
        let (mut segments, mut names) = (Vec::new(), Vec::new());
        for segment in rest.split('/') {
            if segments.last() == Some(&Segment::CatchAll) {
                return Err(PatternError::CatchAll);
            }
            segments.push(parse_segment(segment, &mut names)?);
        }
        if names.len() > ROUTE_PARAM_COUNT_MAX {
            return Err(PatternError::TooMany);
        }
        Ok(Self {
            text: text.into(),
            segments: segments.into(),
            names: names.into(),
        })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its segments: what two patterns have in common that match the same paths.
    pub fn shape(&self) -> &Arc<[Segment]> {
        &self.segments
    }

    /// Whether every path that `other` matches is matched by this one.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = &other.segments[..];
        for segment in &*self.segments {
            if *segment == Segment::CatchAll {
                // What is left must not be empty.
                return match others {
                    [] => false,
                    [Segment::Literal(last)] => !last.is_empty(),
                    _ => true,
                };
            }
            let [first, rest @ ..] = others else {
                return false;
            };
            if !segment.covers(first) {
                return false;
            }
            others = rest;
        }
        others.is_empty()
    }

    /// Names of its parameters, in its order.
    pub fn param_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

fn parse_segment(text: &str, names: &mut Vec<Box<str>>) -> Result<Segment, PatternError> {
    let (mut before, mut behind) = (String::new(), String::new());
    let mut name: Option<&str> = None;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let literal = if name.is_some() {
            &mut behind
        } else {
            &mut before
        };
        let tail = &rest[character.len_utf8()..];
        rest = match character {
            '{' | '}' if tail.starts_with(character) => {
                literal.push(character);
                &tail[1..]
            }
            '}' => return Err(PatternError::Brace),
            '{' => {
                let (inner, tail) = tail.split_once('}').ok_or(PatternError::Brace)?;
                if name.replace(inner).is_some() {
                    return Err(PatternError::TwoInSegment);
                }
                tail
            }
            _ => {
                literal.push(character);
                tail
            }
        };
    }
    let Some(inner) = name else {
        return Ok(Segment::Literal(before.into()));
    };
    let name = inner.strip_prefix('*').unwrap_or(inner);
    if name.is_empty() || name.contains(['{', '*']) {
        return Err(PatternError::Name);
    }
    names.push(name.into());
    match (
        inner.starts_with('*'),
        before.is_empty() && behind.is_empty(),
    ) {
        (true, true) => Ok(Segment::CatchAll),
        (true, false) => Err(PatternError::CatchAll),
        (false, true) => Ok(Segment::Param),
        (false, false) => Ok(Segment::Affixed {
            prefix: before.into(),
            suffix: behind.into(),
        }),
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(text: &str) -> Vec<Segment> {
        Pattern::parse(text).unwrap().shape().to_vec()
    }

    #[test]
    fn a_pattern_is_cut_into_segments_and_names() {
        let literal = |text: &str| Segment::Literal(text.into());
        assert_eq!(segments("/"), [literal("")]);
        assert_eq!(segments("/a//b/"), ["a", "", "b", ""].map(literal));
        let affixed = Segment::Affixed {
            prefix: "x-".into(),
            suffix: ".png".into(),
        };
        let all = segments("/{a}/x-{b}.png/{{c}}/{*rest}");
        let expected = [Segment::Param, affixed, literal("{c}"), Segment::CatchAll];
        assert_eq!(all, expected);
        let pattern = Pattern::parse("/{a}/x-{b}.png/{*rest}").unwrap();
        assert_eq!(
            pattern.param_names().collect::<Vec<_>>(),
            ["a", "b", "rest"]
        );
        assert_eq!(
            pattern.shape(),
            Pattern::parse("/{x}/x-{y}.png/{*z}").unwrap().shape()
        );
    }

    #[test]
    fn a_pattern_covers_those_whose_paths_it_all_matches() {
        let covers = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| Pattern::parse(text).unwrap());
            a.covers(&b)
        };
        for (wide, narrow) in [
            ("/a", "/a"),
            ("/{x}", "/a"),
            ("/{x}", "/{y}"),
            ("/{x}", "/v{y}"),
            ("/v{x}", "/v1"),
            ("/v{x}", "/v1-{y}"),
            ("/a/{*x}", "/a/b"),
            ("/a/{*x}", "/a/b/"),
            ("/a/{*x}", "/a/{*y}"),
            ("/a/{*x}", "/a/{b}/c"),
            ("/{*x}", "/a/{*y}"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (other, route) in [
            ("/a", "/b"),
            ("/a", "/a/b"),
            ("/a/b", "/a"),
            ("/{x}", "/"),
            ("/{x}", "/{*y}"),
            ("/v{x}", "/{y}"),
            ("/v{x}", "/v"),
            ("/a/{*x}", "/a"),
            ("/a/{*x}", "/a/"),
            ("/a/{*x}", "/{*y}"),
            ("/a/{*x}", "/b/c"),
        ] {
            assert!(!covers(other, route), "{other} {route}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for (text, why) in [
            ("a", PatternError::NoSlash),
            ("/{a", PatternError::Brace),
            ("/a}", PatternError::Brace),
            ("/{}", PatternError::Name),
            ("/{*}", PatternError::Name),
            ("/{a*}", PatternError::Name),
            ("/{a/b}", PatternError::Brace),
            ("/{a}{b}", PatternError::TwoInSegment),
            ("/x{*rest}", PatternError::CatchAll),
            ("/{*rest}/x", PatternError::CatchAll),
            ("/{*rest}/", PatternError::CatchAll),
        ] {
            assert_eq!(Pattern::parse(text), Err(why), "{text}");
        }
        let many = "/{a}".repeat(ROUTE_PARAM_COUNT_MAX + 1);
        assert_eq!(Pattern::parse(&many), Err(PatternError::TooMany));
    }
}
