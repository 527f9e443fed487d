//! The tables of the configuration file: `[[attach]]`, who may attach and as what, and
//! `[[route]]`, what some routes may use.

use std::ops::Range;
use std::str::FromStr;

use slotway_shm_proto::Method;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::account::{Group, User};
use super::attach::{AttachPeer, AttachRule};
use super::duration::at_least;
use super::problem::{Problem, nearest};
use super::source::Source;
use crate::limits::TIMEOUT_MIN;
use crate::routing::area::{LimitRule, RouteArea};
use crate::routing::limits::RouteLimits;

/// Their names.
pub const NAMES: [&str; 2] = ["attach", "route"];

/// What they say.
#[derive(Debug, Default)]
pub struct Tables {
    /// Who may attach.
    pub attach: Vec<AttachRule>,
    /// What routes may use.
    pub routes: Vec<LimitRule>,
    /// Each as it is written, with its name and line, for people to look at.
    pub lines: Vec<(&'static str, String, usize)>,
}

impl Tables {
    /// Reads all tables of one name.
    pub(super) fn read(
        &mut self,
        source: &Source<'_>,
        name: &'static str,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Vec<Problem>,
    ) {
        let tables = match value.get_ref() {
            DeValue::Array(tables) => tables.iter().collect(),
            _ => vec![value],
        };
        for table in tables {
            let DeValue::Table(entries) = table.get_ref() else {
                let why = format!("expected tables, each under [[{name}]]");
                problems.push(source.problem(&table.span(), name, why));
                continue;
            };
            let written = entries.iter().map(|(key, value)| {
                let text = &source.text[value.span()];
                format!("{} = {}", key.get_ref(), text.replace('\n', " "))
            });
            let written = written.collect::<Vec<_>>().join(", ");
            self.lines.push((name, written, source.line(&table.span())));
            let mut fields = Fields {
                source,
                name,
                entries,
                span: table.span(),
                known: Vec::new(),
                problems,
            };
            if name == "attach" {
                self.attach.extend(fields.attach());
            } else {
                self.routes.extend(fields.route());
            }
        }
    }
}

/// One table, being read.
struct Fields<'a, 't> {
    source: &'a Source<'a>,
    name: &'static str,
    entries: &'a DeTable<'t>,
    span: Range<usize>,
    /// Keys that have been asked for.
    known: Vec<&'static str>,
    problems: &'a mut Vec<Problem>,
}

impl<'t> Fields<'_, 't> {
    fn attach(&mut self) -> Option<AttachRule> {
        let before = self.problems.len();
        let user = self.parsed("user", User::from_str).map(AttachPeer::User);
        let group = self.parsed("group", Group::from_str).map(AttachPeer::Group);
        let routes = self.list("routes", RouteArea::parse);
        let names = self.list("names", |name| Ok(name.to_owned()));
        let events = self.parsed("events", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        });
        let count = ["user", "group"]
            .iter()
            .filter(|key| self.find(key).is_some())
            .count();
        if count != 1 {
            self.wrong(None, "expected user or group, and not both");
        }
        self.check_keys();
        let peer = user.or(group)?;
        (self.problems.len() == before).then_some(AttachRule {
            peer,
            routes,
            names,
            events: events.unwrap_or(false),
        })
    }

    fn route(&mut self) -> Option<LimitRule> {
        let before = self.problems.len();
        let area = self.parsed("path", RouteArea::parse);
        let method = self.parsed("method", |text| {
            Method::of_route(text).ok_or_else(|| {
                let known = Method::ALL.map(Method::as_str).join(", ");
                format!("expected one of {known}, or * for all others")
            })
        });
        let limits = RouteLimits {
            timeout_ms: self
                .parsed("timeout", at_least(TIMEOUT_MIN))
                .map(super::duration::Time::ms),
            body_bytes_max: self.number("body_bytes_max", 0),
            queue: self.number("queue", 0),
            concurrency: self.number("concurrency", 1),
        };
        if self.find("path").is_none() {
            self.wrong(None, "expected a path, like path = \"/reports/{*rest}\"");
        } else if limits == RouteLimits::default() && self.problems.len() == before {
            self.wrong(
                None,
                "expected a limit: timeout, body_bytes_max, queue or concurrency",
            );
        }
        self.check_keys();
        let area = area?;
        (self.problems.len() == before).then_some(LimitRule {
            area,
            method,
            limits,
        })
    }

    fn find(&self, key: &str) -> Option<(Range<usize>, &DeValue<'t>)> {
        let found = self.entries.iter().find(|(name, _)| name.get_ref() == key);
        found.map(|(_, value)| (value.span(), value.get_ref()))
    }

    fn wrong(&mut self, place: Option<(Range<usize>, &str)>, why: impl Into<String>) {
        let (span, key) = place.unwrap_or((self.span.clone(), ""));
        let name = self.name;
        let key = if key.is_empty() {
            format!("[[{name}]]")
        } else {
            format!("[[{name}]] {key}")
        };
        self.problems.push(self.source.problem(&span, &key, why));
    }

    /// A text, or a number that is read like one.
    fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        let (span, value) = self.find(key)?;
        let parsed = text_of(value).and_then(|text| {
            let with_text = |why| format!("{text:?}: {why}");
            parse(&text).map_err(with_text)
        });
        parsed
            .map_err(|why| self.wrong(Some((span, key)), why))
            .ok()
    }

    fn number<T: TryFrom<u64>>(&mut self, key: &'static str, min: u64) -> Option<T> {
        let parse = |text: &str| {
            let number = text.parse::<u64>().ok().filter(|number| *number >= min);
            let number = number.and_then(|number| T::try_from(number).ok());
            number.ok_or_else(|| format!("expected a whole number, {min} or more"))
        };
        self.parsed(key, parse)
    }

    fn list<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.known.push(key);
        let (mut read, mut wrong) = (Vec::new(), Vec::new());
        match self.find(key) {
            None => {}
            Some((span, DeValue::Array(items))) if items.is_empty() => {
                wrong.push((
                    span,
                    "the list is empty: nothing would be allowed".to_owned(),
                ));
            }
            Some((_, DeValue::Array(items))) => {
                for item in items {
                    let parsed = text_of(item.get_ref())
                        .and_then(|text| parse(&text).map_err(|why| format!("{text:?}: {why}")));
                    match parsed {
                        Ok(value) => read.push(value),
                        Err(why) => wrong.push((item.span(), why)),
                    }
                }
            }
            Some((span, _)) => wrong.push((span, "expected a list of texts".to_owned())),
        }
        for (span, why) in wrong {
            self.wrong(Some((span, key)), why);
        }
        read
    }

    /// Whether all keys are known, once all have been asked for.
    fn check_keys(&mut self) {
        let mut unknown = Vec::new();
        for key in self.entries.keys() {
            let name = key.get_ref().to_string();
            if !self.known.contains(&&*name) {
                let known = self.known.join(", ");
                let why = match nearest(&name, self.known.iter().copied()) {
                    Some(near) => format!("there is no such key; did you mean {near}?"),
                    None => format!("there is no such key; keys are {known}"),
                };
                unknown.push((key.span(), name, why));
            }
        }
        for (span, name, why) in unknown {
            self.wrong(Some((span, &name)), why);
        }
    }
}

fn text_of(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Boolean(on) => Ok(on.to_string()),
        _ => Err("expected a text in quotes, a number, or true or false".to_owned()),
    }
}
