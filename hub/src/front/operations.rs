//! What those who operate the hub ask for: probes, metrics, and the status page. They come by
//! a listener of their own (`--ops`), which asks for no secret; without one, from this host by
//! the clients' listeners.

use slotway_net::Peer;
use slotway_shm_proto::Method;

use super::auth;
use crate::config::Internal;
use crate::http::head::text_of;
use crate::http::local_reply::LocalReply;
use crate::http::target;
use crate::metrics::route::{Group, RouteId};
use crate::routing::own_paths::Operation as Asked;
use crate::routing::table::RouteTable;
use crate::shared::message::{ControlMessage, Operation, OperationRequest};
use crate::sse::stream;
use crate::wire::{AfterRequest, Call, EarlyEnd, Wire};

/// What is asked for, when it is this hub's to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The control thread knows.
    Control(Operation),
    /// What the status page is told as it happens.
    Feed,
    /// The status page is a folder.
    Redirect,
    /// There is no such thing.
    Missing,
}

impl Part {
    fn of(asked: Asked<'_>) -> Self {
        match asked {
            Asked::Live => Self::Control(Operation::Live),
            Asked::Ready => Self::Control(Operation::Ready { is_detailed: true }),
            Asked::Metrics => Self::Control(Operation::Metrics),
            Asked::Status("") => Self::Redirect,
            Asked::Status("/") => Self::Control(Operation::Page),
            Asked::Status("/tables") => Self::Control(Operation::Tables),
            Asked::Status("/history") => Self::Control(Operation::History),
            Asked::Status("/feed") => Self::Feed,
            Asked::Status(_) => Self::Missing,
        }
    }

    /// What a probe of somebody who may not know more gets.
    fn bare(self) -> Option<Self> {
        match self {
            Self::Control(Operation::Live) => Some(self),
            Self::Control(Operation::Ready { .. }) => {
                Some(Self::Control(Operation::Ready { is_detailed: false }))
            }
            _ => None,
        }
    }
}

/// At a listener for operations: what is asked for.
pub fn find_at_own_listener(wire: &Wire, call: &Call) -> Result<Part, LocalReply> {
    let path = call.path(wire);
    let asked = Asked::find(path).filter(|asked| is_on(wire, *asked));
    let Some(asked) = asked else {
        let why = format!(
            "{path} is not here: this listener serves /live, /ready, /metrics and /_slotway/"
        );
        return Err(LocalReply::error(404, why));
    };
    check_name(wire, call)?;
    check_page(wire, call)?;
    Ok(Part::of(asked))
}

/// At a listener for clients: what is asked for, if it is the hub that answers. All others
/// are for workers.
pub fn find_among_clients(
    wire: &Wire,
    call: &Call,
    asked: Asked<'_>,
) -> Result<Option<Part>, LocalReply> {
    let host = || call.head.field_value(&wire.input, b"host");
    let path = call.path(wire);
    let has_route = |table: &RouteTable| table.has_literal(host(), path);
    if !wire.reactor.shared.config.ops.is_empty()
        || !is_on(wire, asked)
        || (asked.yields() && wire.reactor.with_routes(has_route))
    {
        return Ok(None);
    }
    let part = Part::of(asked);
    let is_tcp = matches!(wire.peer, Peer::Tcp(_));
    let is_elsewhere = call.must_know_secret
        || auth::came_through_proxy(wire, call)
        || (is_tcp && wire.reactor.shared.config.internal == Internal::Socket)
        || !auth::is_own_process(wire);
    let may_know = || auth::check_own_name(wire, call).and_then(|()| check_page(wire, call));
    match (part.bare(), is_elsewhere) {
        (None, true) => Ok(None),
        (None, false) => may_know().map(|()| Some(part)),
        (Some(bare), _) if is_elsewhere || may_know().is_err() => Ok(Some(bare)),
        (Some(_), _) => Ok(Some(part)),
    }
}

/// The probe that somebody without the secret may ask for.
pub fn find_probe(wire: &Wire, call: &Call) -> Option<Part> {
    use crate::routing::own_paths::OwnPath::Operations;
    let own_paths = &wire.reactor.shared.config.own_paths;
    let Some(Operations(asked @ (Asked::Live | Asked::Ready))) = own_paths.find(call.path(wire))
    else {
        return None;
    };
    find_among_clients(wire, call, asked).ok().flatten()
}

fn is_on(wire: &Wire, asked: Asked<'_>) -> bool {
    !matches!(asked, Asked::Status(_)) || wire.reactor.shared.config.status.is_on()
}

/// Refuses names that somebody may have pointed at this host to let a browser here ask
/// (DNS rebinding).
fn check_name(wire: &Wire, call: &Call) -> Result<(), LocalReply> {
    let host = call.head.field_value(&wire.input, b"host");
    let host = host.map(|host| String::from_utf8_lossy(host).to_ascii_lowercase());
    let Some(host) = host.filter(|_| matches!(wire.peer, Peer::Tcp(_))) else {
        return Ok(());
    };
    let named = &wire.reactor.shared.config.ops_name;
    let is_known = |name: &str| {
        target::is_loopback_host(name.as_bytes())
            || name
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok()
            || rustix::system::uname()
                .nodename()
                .to_str()
                .is_ok_and(|own| own == name)
            || named.iter().any(|named| named.eq_ignore_ascii_case(name))
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => &host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if is_known(name) {
        return Ok(());
    }
    let why = "this listener is asked under an address, localhost, this host's name, or a name that --ops-name gives";
    Err(LocalReply::error(403, why))
}

/// Refuses pages of other origins. Who follows a link to the status page reads it himself.
fn check_page(wire: &Wire, call: &Call) -> Result<(), LocalReply> {
    let field = |name: &[u8]| call.head.field_value(&wire.input, name);
    let is = |name: &[u8], value: &[u8]| field(name) == Some(value);
    let is_own_origin = |origin: &[u8]| {
        let authority = origin.strip_prefix(b"http://");
        let authority = authority.or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some() && authority == field(b"host")
    };
    let opens_page = is(b"sec-fetch-mode", b"navigate") && is(b"sec-fetch-dest", b"document");
    let is_own_site = |site: &[u8]| site == b"none" || site == b"same-origin";
    if !field(b"origin").is_none_or(is_own_origin)
        || !(opens_page || field(b"sec-fetch-site").is_none_or(is_own_site))
    {
        let why = "web pages of other origins may not use this path";
        return Err(LocalReply::error(403, why));
    }
    Ok(())
}

/// Responds to it.
pub async fn serve(
    wire: &mut Wire,
    call: &mut Call,
    method: Method,
    part: Part,
) -> Result<AfterRequest, EarlyEnd> {
    call.route_id = RouteId::of_group(Group::Hub, Some(method));
    if !matches!(method, Method::Get | Method::Head) {
        let reply = LocalReply::error(405, "allowed here: GET, HEAD");
        return Err(reply.with("Allow", "GET, HEAD").into());
    }
    let operation = match part {
        Part::Control(operation) => operation,
        Part::Feed => return Box::pin(stream::serve_status(wire, call, method)).await,
        Part::Redirect => {
            let place = format!("{}/", call.path(wire));
            return Err(LocalReply::empty(308).with("Location", place).into());
        }
        Part::Missing => {
            let why = format!("{} is not here", call.path(wire));
            return Err(LocalReply::error(404, why).into());
        }
    };
    let query = call.head.query.unwrap_or_default();
    let accept = call.head.field_value(&wire.input, b"accept");
    let request = OperationRequest {
        operation,
        query: text_of(&wire.input, query).to_owned(),
        accept: String::from_utf8_lossy(accept.unwrap_or_default()).into_owned(),
    };
    let (reply, response) = tokio::sync::oneshot::channel();
    let message = ControlMessage::Operation(request, reply);
    wire.reactor.shared.tell_control(message);
    Err(match response.await {
        Ok(response) => response.into(),
        Err(_) => LocalReply::error(503, "the hub is stopping").into(),
    })
}
