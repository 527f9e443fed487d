//! All routes within a pattern.

use slotway_shm_proto::Method;

use super::host;
use super::limits::RouteLimits;
use super::pattern::Pattern;
use super::registration::RouteSpec;

/// Routes within a pattern: `[host]/pattern`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteArea {
    /// Of this host; without one, only routes for every host.
    host: Option<String>,
    path: Pattern,
}

/// What all routes of an area may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRule {
    /// Which routes.
    pub area: RouteArea,
    /// Of this method; without one, of all.
    pub method: Option<Method>,
    /// What they may use.
    pub limits: RouteLimits,
}

impl RouteArea {
    /// Reads one. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a route like /shop/{*rest}, or shop.example/{*rest}".to_owned();
        let (host, path) = text.split_at(text.find('/').ok_or_else(wrong)?);
        let path = Pattern::parse(path).map_err(|error| error.to_string())?;
        let host = match host {
            "" => None,
            host => Some(host::parse(host)?),
        };
        Ok(Self { host, path })
    }

    /// Whether all requests of a route are within it, whatever the route's host if it has none itself.
    fn covers_on_any_host(&self, route: &RouteSpec) -> bool {
        let is_its_host = self.host.is_none() || self.host.as_deref() == route.host.as_deref();
        is_its_host && self.path.covers(&route.path)
    }

    /// Whether all requests of a route are within it.
    pub fn covers(&self, route: &RouteSpec) -> bool {
        self.host.as_deref() == route.host.as_deref() && self.path.covers(&route.path)
    }
}

impl LimitRule {
    /// What all rules together let a route use.
    pub fn limits_of(rules: &[Self], route: &RouteSpec) -> RouteLimits {
        let is_for = |rule: &&Self| {
            rule.method.is_none_or(|method| method == route.method)
                && rule.area.covers_on_any_host(route)
        };
        let rules = rules.iter().filter(is_for);
        rules.fold(RouteLimits::default(), |limits, rule| {
            limits.stricter(rule.limits)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_covers_the_routes_within_it_on_its_host() {
        let covers = |area: &str, route: &str| {
            RouteArea::parse(area)
                .unwrap()
                .covers(&RouteSpec::for_tests(route))
        };
        assert!(covers("/shop/{*rest}", "/shop/items/{id}"));
        assert!(covers("/shop/{*rest}", "/shop/{*all}"));
        assert!(!covers("/shop/{*rest}", "/shop"));
        assert!(!covers("/shop/{*rest}", "/{*rest}"));
        assert!(!covers("shop.example/{*rest}", "/x"));
        let mut route = RouteSpec::for_tests("/x");
        route.host = Some("shop.example".into());
        let area = RouteArea::parse("shop.example/{*rest}").unwrap();
        assert!(area.covers(&route));
        assert!(!RouteArea::parse("/{*rest}").unwrap().covers(&route));
        for wrong in ["", "shop", "/{", "sh op/x"] {
            assert!(RouteArea::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_rules_for_a_route_count() {
        let rule = |area: &str, method, queue| LimitRule {
            area: RouteArea::parse(area).unwrap(),
            method,
            limits: RouteLimits {
                queue: Some(queue),
                ..RouteLimits::default()
            },
        };
        let rules = [
            rule("/{*all}", None, 9),
            rule("/reports/{*rest}", None, 5),
            rule("/reports/{*rest}", Some(Method::Post), 1),
        ];
        let queue = |path: &str| LimitRule::limits_of(&rules, &RouteSpec::for_tests(path)).queue;
        assert_eq!(
            (queue("/x"), queue("/reports/{id}"), queue("/")),
            (Some(9), Some(5), None)
        );
    }
}
