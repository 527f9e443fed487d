//! Who would answer a request.

use serde_json::{Map, Value, json};
use slotway_shm_proto::Method;

use crate::routing::found::NoRoute;
use crate::routing::own_paths::OwnPath;
use crate::routing::params::Params;
use crate::shared::Shared;

/// As a document: `answer` is `hub`, `worker`, `nobody now` or `none`, the last with a status.
pub fn find(shared: &Shared, path: &str, method: &str, host: Option<&str>) -> Value {
    let is_own = match shared.config.own_paths.find(path) {
        None => false,
        Some(OwnPath::Operations(operation)) => {
            let table = shared.routes.current();
            let is_workers = operation.yields() && table.has_literal(host.map(str::as_bytes), path);
            let is_on = operation.yields() || shared.config.status.is_on();
            shared.config.ops.is_empty() && is_on && !is_workers
        }
        Some(OwnPath::Control(_) | OwnPath::Events(_)) => true,
    };
    if is_own {
        return json!({ "answer": "hub", "path": path });
    }
    let Some(method) = Method::of_request(method.as_bytes()) else {
        return json!({ "answer": "none", "status": 501, "path": path });
    };
    let table = shared.routes.current();
    let mut params = Params::default();
    let host = host.map(str::as_bytes);
    let found = match table.find(method, || host, path, &mut params) {
        Ok(found) => found,
        Err(_) if method == Method::Other => {
            return json!({ "answer": "none", "status": 501, "path": path });
        }
        Err(NoRoute::WrongMethod { allow }) => {
            return json!({ "answer": "none", "status": 405, "path": path, "allow": allow });
        }
        Err(NoRoute::NotFound) => {
            return json!({ "answer": "none", "status": 404, "path": path });
        }
    };
    let targets = table.targets(found).unwrap_or_default();
    let absence = table.absence(found);
    let of_target = targets.first().map(|target| {
        let index = target.route_index as usize;
        &target.session.routes[index]
    });
    let route = of_target.or(absence.map(|absence| &absence.route));
    let names = route.into_iter().flat_map(|route| route.path.param_names());
    let params: Map<_, _> = names
        .zip(params.values(path))
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let workers = targets.iter().map(|target| {
        let session = &target.session;
        json!({ "name": session.name, "worker_id": session.worker_id })
    });
    json!({
        "answer": if targets.is_empty() { "nobody now" } else { "worker" },
        "path": path,
        "route": route.map(ToString::to_string),
        "params": params,
        "workers": workers.collect::<Vec<_>>(),
        "gone": absence.map(|absence| &*absence.worker),
    })
}
