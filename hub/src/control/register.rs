//! `POST /internal/register`: the document, checked field by field.

use std::collections::HashSet;

use slotway_shm_proto::Method;
use slotway_shm_proto::api::{RegisterRequest, RouteRegistration, WORKER_PING_ROUTE};

use super::document;
use super::error::ControlError;
use crate::clock;
use crate::limits::{
    ROUTE_COUNT_MAX, ROUTE_PATH_BYTES_MAX, TIMEOUT_MAX, TIMEOUT_MIN, WORKER_NAME_BYTES_MAX,
    WORKER_VERSION_BYTES_MAX,
};
use crate::routing::host;
use crate::routing::limits::RouteLimits;
use crate::routing::own_paths::OwnPaths;
use crate::routing::pattern::Pattern;
use crate::routing::registration::{Registration, RouteOptions, RouteSpec};

/// Reads and checks a registration for a hub with these paths of its own.
pub fn read(body: &[u8], own_paths: &OwnPaths) -> Result<Registration, ControlError> {
    let document: RegisterRequest = document::read("a registration", body)?;
    let refuse = |field: &str, why: String| Err(ControlError::field(field, why));
    check_name(&document.name)?;
    check_version(document.version.as_deref())?;
    if document.routes.is_empty() || document.routes.len() > ROUTE_COUNT_MAX {
        return refuse(
            "routes",
            format!("1 to {ROUTE_COUNT_MAX} routes are needed"),
        );
    }
    let mut routes: Vec<RouteSpec> = Vec::with_capacity(document.routes.len());
    let mut known = HashSet::with_capacity(document.routes.len());
    let mut options = Vec::with_capacity(document.routes.len());
    for (index, route) in document.routes.into_iter().enumerate() {
        let Some(method) = Method::of_route(&route.method) else {
            let (method, known) = (&route.method, Method::ALL.map(Method::as_str).join(", "));
            return refuse(
                &format!("routes[{index}].method"),
                format!("{method:?} is not one of {known}, or * for all others"),
            );
        };
        let path = match check_path(&route.path, own_paths) {
            Ok(path) => path,
            Err(why) => {
                let why = format!("{:?}: {why}", shortened(&route.path));
                return refuse(&format!("routes[{index}].path"), why);
            }
        };
        let host = match route.host.as_deref().map(host::parse).transpose() {
            Ok(host) => host.map(Into::into),
            Err(why) => return refuse(&format!("routes[{index}].host"), why.to_owned()),
        };
        let spec = RouteSpec { method, host, path };
        if !known.insert(spec.clone()) {
            let why = format!("{spec} is registered twice");
            return refuse(&format!("routes[{index}]"), why);
        }
        if route.sse && spec.method != Method::Get {
            let why = "an event stream must be a GET route".to_owned();
            return refuse(&format!("routes[{index}].sse"), why);
        }
        let limits = read_limits(&route)
            .map_err(|(name, why)| ControlError::field(&format!("routes[{index}].{name}"), why))?;
        routes.push(spec);
        options.push(RouteOptions {
            may_retry: route.retry,
            is_sse: route.sse,
            raw_params: route.raw_params,
            reads_body: route.reads_body,
            limits,
        });
    }
    Ok(Registration {
        name: document.name,
        is_instance: document.instance,
        shares_routes: document.shares_routes,
        started_ms: document
            .started_ms
            .map(|started_ms| started_ms.min(clock::unix_seconds() * 1000 + 999)),
        version: document.version,
        upgrades: document.upgrades,
        returns: document.returns,
        routes,
        options,
    })
}

/// What a route may use; the error has the field.
fn read_limits(route: &RouteRegistration) -> Result<RouteLimits, (&'static str, String)> {
    let times = TIMEOUT_MIN.as_millis() as u64..=TIMEOUT_MAX.as_millis() as u64;
    if let Some(ms) = route.timeout_ms.filter(|ms| !times.contains(ms)) {
        let (min, max) = times.into_inner();
        return Err(("timeout_ms", format!("{ms} is not within {min} to {max}")));
    }
    if route.concurrency == Some(0) {
        return Err(("concurrency", "0 would let no request in".to_owned()));
    }
    if route.sse && route.concurrency.is_some() {
        let why = "clients of an event stream are not bounded by it";
        return Err(("concurrency", why.to_owned()));
    }
    Ok(RouteLimits {
        timeout_ms: route.timeout_ms,
        body_bytes_max: route.body_bytes_max,
        queue: route.queue,
        concurrency: route.concurrency,
    })
}

fn check_name(name: &str) -> Result<(), ControlError> {
    let is_visible = |byte| matches!(byte, 0x20..=0x7e);
    let why = if name.is_empty() {
        "the name is empty".to_owned()
    } else if name.len() > WORKER_NAME_BYTES_MAX {
        format!("the name is longer than {WORKER_NAME_BYTES_MAX} bytes")
    } else if !name.bytes().all(is_visible) || name.trim() != name {
        "the name must be visible ASCII".to_owned()
    } else {
        return Ok(());
    };
    Err(ControlError::field("name", why))
}

fn check_version(version: Option<&str>) -> Result<(), ControlError> {
    let is_one = |version: &str| {
        (1..=WORKER_VERSION_BYTES_MAX).contains(&version.len())
            && version.bytes().all(|byte| matches!(byte, 0x21..=0x7e))
    };
    if version.is_none_or(is_one) {
        return Ok(());
    }
    let why = format!("the version must be 1 to {WORKER_VERSION_BYTES_MAX} bytes of visible ASCII");
    Err(ControlError::field("version", why))
}

/// For a message.
fn shortened(path: &str) -> String {
    path.chars().take(64).collect()
}

fn check_path(path: &str, own_paths: &OwnPaths) -> Result<Pattern, String> {
    if path.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if path.len() > ROUTE_PATH_BYTES_MAX {
        return Err(format!(
            "the path is longer than {ROUTE_PATH_BYTES_MAX} bytes"
        ));
    }
    if !path
        .bytes()
        .all(|byte| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'?' | b'#'))
    {
        return Err("the path has characters that a request's path cannot have".to_owned());
    }
    if own_paths.is_reserved(path) {
        let why = "the path is reserved for the hub (slotway-hub --own-paths moves its paths)";
        return Err(why.to_owned());
    }
    if path == WORKER_PING_ROUTE {
        return Err("the path is reserved for pings".to_owned());
    }
    Pattern::parse(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> String {
        let reply = read(body.as_bytes(), &OwnPaths::default())
            .expect_err("refused")
            .to_reply();
        format!(
            "{} {}",
            reply.status,
            String::from_utf8_lossy(&reply.body).trim()
        )
    }

    fn one_route(name: &str, method: &str, path: &str) -> String {
        serde_json::json!({"name": name, "routes": [{"method": method, "path": path}]}).to_string()
    }

    #[test]
    fn a_registration_is_read() {
        let document = one_route("w", "GET", "/a/{id}/{*rest}");
        let registration = read(document.as_bytes(), &OwnPaths::default()).unwrap();
        assert_eq!(
            (registration.name.as_str(), registration.routes.len()),
            ("w", 1)
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let long = "a".repeat(5000);
        for (body, expected) in [
            ("{".to_owned(), "not a registration"),
            ("{\"name\":\"a\"}".to_owned(), "missing field `routes`"),
            (
                "{\"name\":\"a\",\"routes\":[]}".to_owned(),
                "\"field\":\"routes\"",
            ),
            (one_route("", "GET", "/"), "\"field\":\"name\""),
            (one_route(&long, "GET", "/"), "longer than 128 bytes"),
            (one_route("a\nb", "GET", "/"), "visible ASCII"),
            (one_route("a", "get", "/"), "\"field\":\"routes[0].method\""),
            (one_route("a", "GET", ""), "the path is empty"),
            (one_route("a", "GET", "x"), "does not start with /"),
            (
                one_route("a", "GET", &format!("/{long}")),
                "longer than 1024 bytes",
            ),
            (one_route("a", "GET", "/{a"), "\"field\":\"routes[0].path\""),
            (
                one_route("a", "GET", "/{a}{b}"),
                "\"field\":\"routes[0].path\"",
            ),
            (
                one_route("a", "GET", "/{*a}/b"),
                "\"field\":\"routes[0].path\"",
            ),
            (
                one_route("a", "GET", "/a b"),
                "a request's path cannot have",
            ),
            (one_route("a", "GET", "/internal/x"), "reserved"),
            (one_route("a", "GET", "/internal"), "reserved"),
            (one_route("a", "GET", "/health"), "reserved"),
            (one_route("a", "GET", "/__ping__"), "reserved"),
            (one_route("a", "GET", "/events/x"), "reserved"),
            (
                r#"{"name":"a","routes":[{"method":"POST","path":"/s","sse":true}]}"#.to_owned(),
                "\"field\":\"routes[0].sse\"",
            ),
            (one_route("a", "GET", "/events"), "reserved"),
            (one_route("a", "GET", &"/{a}".repeat(17)), "more than 16"),
        ] {
            let refused = refusal(&body);
            assert!(
                refused.starts_with("400 ") && refused.contains(expected),
                "{body}: {refused}"
            );
        }
        let host = r#"{"name":"a","routes":[{"method":"GET","path":"/","host":"a:80"}]}"#;
        assert!(refusal(host).contains("\"field\":\"routes[0].host\""));
        let known = refusal(&one_route("a", "GET", "/health"));
        assert!(
            known.contains(r#"\"/health\": the path is reserved"#),
            "{known}"
        );
        let twice =
            r#"{"name":"a","routes":[{"method":"GET","path":"/"},{"method":"GET","path":"/"}]}"#;
        assert!(refusal(twice).contains("registered twice"));
    }
}
