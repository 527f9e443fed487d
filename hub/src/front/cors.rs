//! Cross-origin requests (the Fetch standard, section 3.2): off unless
//! `--cors-allow-origin` names origins. Then the hub answers preflights, and responses to
//! those origins say that they may be read.

use slotway_shm_proto::Method;

use crate::config::origin::AllowedOrigin;
use crate::http::local_reply::LocalReply;
use crate::limits::CORS_MAX_AGE_SECONDS;
use crate::proxy::absent;
use crate::routing::own_paths::OwnPath;
use crate::routing::table::RouteTable;
use crate::wire::{Call, Wire};

/// Finds out whether the request comes from an allowed origin. Answers preflights.
pub fn apply(wire: &Wire, call: &mut Call, method: Method) -> Result<(), LocalReply> {
    let field_value = |name: &[u8]| call.head.field_value(&wire.input, name);
    let Some(origin) = field_value(b"origin") else {
        return Ok(());
    };
    let asks = field_value(b"access-control-request-method").is_some();
    let is_it = |allowed: &AllowedOrigin| match allowed {
        AllowedOrigin::Any => true,
        AllowedOrigin::One(allowed) => allowed.as_bytes() == origin,
    };
    let mut allowed = wire.reactor.shared.config.cors_allow_origin.iter();
    call.origin = allowed.position(is_it).map(|index| index as u32);
    if method == Method::Options && asks {
        return Err(preflight(wire, call));
    }
    Ok(())
}

fn preflight(wire: &Wire, call: &Call) -> LocalReply {
    if call.origin.is_none() {
        return LocalReply::error(403, "this origin is not allowed");
    }
    let path = call.path(wire);
    let own = wire.reactor.shared.config.own_paths.find(path);
    let allow = if let Some(OwnPath::Events(_) | OwnPath::Control("/health")) = own {
        "GET, HEAD".to_owned()
    } else {
        let host = call.head.field_value(&wire.input, b"host");
        let find = |table: &RouteTable| table.allow_of(host, path).map(str::to_owned);
        let Some(allow) = wire.reactor.with_routes(find) else {
            let not_found = |table: &RouteTable| absent::not_found(path, &table.missing);
            return wire.reactor.with_routes(not_found);
        };
        allow
    };
    let wanted = call
        .head
        .field_value(&wire.input, b"access-control-request-headers");
    let wanted = wanted.and_then(|fields| std::str::from_utf8(fields).ok());
    let reply = LocalReply::empty(204)
        .with("Access-Control-Allow-Methods", allow)
        .with("Access-Control-Max-Age", CORS_MAX_AGE_SECONDS.to_string());
    match wanted {
        Some(wanted) => reply.with("Access-Control-Allow-Headers", wanted.to_owned()),
        None => reply,
    }
}
