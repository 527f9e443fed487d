//! Paths that the hub answers itself. No worker can register one.

use std::str::FromStr;

use super::params::Params;
use super::pattern::Pattern;
use super::registration::RouteSpec;
use super::tree::Tree;

/// Where the hub's own paths are: at the root, or below a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPaths {
    /// Empty, or `/name` without a slash at its end.
    prefix: String,
}

/// A path of the hub's own, without the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnPath<'p> {
    /// Answered by the control thread.
    Control(&'p str),
    /// An event stream.
    Events(&'p str),
    /// For who operates the hub; elsewhere if there is a listener for that.
    Operations(Operation<'p>),
}

/// What those who operate the hub can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'p> {
    /// Whether the hub lives.
    Live,
    /// Whether it takes requests.
    Ready,
    /// What has been counted.
    Metrics,
    /// The status page and what belongs to it: what follows `/_slotway`.
    Status(&'p str),
}

impl<'p> Operation<'p> {
    /// What a path, without a prefix, asks for.
    pub fn find(path: &'p str) -> Option<Self> {
        match path {
            "/live" => Some(Self::Live),
            "/ready" => Some(Self::Ready),
            "/metrics" => Some(Self::Metrics),
            _ => {
                let rest = path.strip_prefix("/_slotway")?;
                (rest.is_empty() || rest.starts_with('/')).then_some(Self::Status(rest))
            }
        }
    }

    /// Whether a worker's route of just this path goes before it: services have such paths
    /// of their own.
    pub fn yields(self) -> bool {
        !matches!(self, Self::Status(_))
    }
}

impl OwnPaths {
    /// What a path is to the hub, if it is one of its own.
    #[inline]
    pub fn find<'p>(&self, path: &'p str) -> Option<OwnPath<'p>> {
        let own = path.strip_prefix(self.prefix.as_str())?;
        // Most paths are nothing of this, and few begin alike.
        match own.as_bytes().get(1) {
            Some(b'h') if own == "/health" => Some(OwnPath::Control(own)),
            Some(b'i') if own == "/internal" || own.starts_with("/internal/") => {
                Some(OwnPath::Control(own))
            }
            Some(b'e') if own == "/events" || own.starts_with("/events/") => {
                Some(OwnPath::Events(own))
            }
            Some(b'l' | b'r' | b'm' | b'_') => Operation::find(own).map(OwnPath::Operations),
            _ => None,
        }
    }

    /// Whether no worker may register a path.
    pub fn is_reserved(&self, path: &str) -> bool {
        match self.find(path) {
            None => false,
            Some(OwnPath::Operations(operation)) => !operation.yields(),
            Some(OwnPath::Control(_) | OwnPath::Events(_)) => true,
        }
    }

    /// The first of these routes that matches paths which the hub at the root answers in its
    /// place.
    pub fn shadowed<'r>(&self, routes: &'r [RouteSpec]) -> Option<&'r Pattern> {
        if !self.prefix.is_empty() {
            // Whoever chose the place knows.
            return None;
        }
        let own = ["/health", "/events", "/events/x", "/internal/x"];
        let matches = |route: &&RouteSpec| {
            let mut tree = Tree::default();
            tree.insert(route.path.shape(), 0);
            own.iter()
                .any(|own| tree.find(own, &mut Params::default()).is_some())
        };
        routes.iter().find(matches).map(|route| &route.path)
    }
}

impl FromStr for OwnPaths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefix = text.strip_suffix('/').unwrap_or(text);
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
        let is_path = prefix.is_empty() || (prefix.starts_with('/') && !prefix.ends_with('/'));
        if text.is_empty() || !is_path || !prefix.bytes().all(is_legal) || prefix.contains("//") {
            return Err("expected a path like /_hub, or / for the root".to_owned());
        }
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_s_own_paths_are_at_the_root_or_below_a_prefix() {
        let at_root = OwnPaths::default();
        let below: OwnPaths = "/_hub/".parse().unwrap();
        for (path, found) in [
            ("/health", Some(OwnPath::Control("/health"))),
            ("/healthy", None),
            ("/health/x", None),
            ("/internal", Some(OwnPath::Control("/internal"))),
            ("/internal/x", Some(OwnPath::Control("/internal/x"))),
            ("/internals", None),
            ("/events", Some(OwnPath::Events("/events"))),
            ("/events/a", Some(OwnPath::Events("/events/a"))),
            ("/event", None),
            ("/live", Some(OwnPath::Operations(Operation::Live))),
            ("/ready", Some(OwnPath::Operations(Operation::Ready))),
            ("/ready/x", None),
            ("/metrics", Some(OwnPath::Operations(Operation::Metrics))),
            (
                "/_slotway",
                Some(OwnPath::Operations(Operation::Status(""))),
            ),
            (
                "/_slotway/",
                Some(OwnPath::Operations(Operation::Status("/"))),
            ),
            ("/_slotways", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(at_root.find(path), found, "{path}");
            assert_eq!(below.find(path), None, "{path}");
            assert_eq!(below.find(&format!("/_hub{path}")), found, "{path}");
        }
        for (path, is_reserved) in [
            ("/health", true),
            ("/_slotway/x", true),
            ("/metrics", false),
            ("/x", false),
        ] {
            assert_eq!(at_root.is_reserved(path), is_reserved, "{path}");
        }
        assert_eq!("/".parse(), Ok(OwnPaths::default()));
        for wrong in ["", "x", "//", "/a//b", "/a b", "/{a}"] {
            assert!(wrong.parse::<OwnPaths>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_catch_all_is_shadowed_and_other_routes_are_not() {
        let route = |path: &str| RouteSpec::for_tests(path);
        let (root, below) = (OwnPaths::default(), "/_hub".parse::<OwnPaths>().unwrap());
        for (path, is_shadowed) in [
            ("/{*path}", true),
            ("/{page}", true),
            ("/events/{id}", true),
            ("/api/{*path}", false),
            ("/", false),
        ] {
            let routes = [route(path)];
            assert_eq!(root.shadowed(&routes).is_some(), is_shadowed, "{path}");
            assert_eq!(below.shadowed(&routes), None, "{path}");
        }
    }
}
