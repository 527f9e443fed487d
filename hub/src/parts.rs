//! Pieces of a request's way through the hub, each done many times over, so that callgrind can
//! count their instructions: a number that noise does not move (`just instructions`). None of
//! them asks for the time: valgrind hides what rustix asks.

use std::hint::black_box;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slotway_net::Peer;
use slotway_shm_proto::Method;
use slotway_shm_proto::claim;
use slotway_shm_proto::geometry::Geometry;
use slotway_shm_proto::layout::{RequestHead as SlotHead, ResponseHead};
use slotway_shm_proto::region::WorkerRegions;
use slotway_shm_proto::ring::{CompletionKind, CompletionProducer};

use crate::http::encode::{self, BodyFraming, Persistence};
use crate::http::field_section;
use crate::http::forwarded::Client;
use crate::http::head::{HeadLimits, RequestHead};
use crate::http::scan::HeadScanner;
use crate::lanes::exchange::{Exchange, Outcome};
use crate::lanes::lane::Lane;
use crate::lanes::response_head::{self, ArenaPart, ResponseBody};
use crate::lanes::simulation::{lane_and_regions, submissions};
use crate::lanes::slot::Event;
use crate::proxy::fill::{self, NO_BODY, Request};
use crate::routing::absence::Absences;
use crate::routing::editor::table_of;
use crate::routing::params::Params;
use crate::routing::registration::RouteSpec;
use crate::routing::session::{Session, SessionState};
use crate::routing::table::RouteTable;

const HEAD: &[u8] = b"GET /api/items/42 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Cookie: session=0123456789abcdef\r\n\r\n";
const PATH: &str = "/api/items/42";
const FIELDS: &[u8] = b"content-type: text/plain; charset=utf-8\r\n";
const BODY: &[u8] = b"item 42";
const DATE: &[u8] = b"Date: Sun, 29 Nov 2026 00:00:00 GMT\r\n";

/// Does a part so many times.
type Part = fn(u32);

const PARTS: [(&str, Part); 5] = [
    ("parse a request's head", parse),
    ("find its route among 1000", find),
    ("write it into a slot", write),
    ("write a response's head", respond),
    ("slot round trip", round_trip),
];

#[test]
#[ignore = "callgrind counts it: just instructions"]
fn run() {
    let wanted = std::env::var("PART").expect("the name of a part");
    let count = std::env::var("COUNT").expect("how often").parse();
    let (_, part) = PARTS
        .iter()
        .find(|(name, _)| *name == wanted)
        .expect("a part");
    part(count.expect("a number"));
}

#[test]
fn every_part_can_be_run() {
    for (_, part) in PARTS {
        part(3);
    }
}

fn parsed() -> RequestHead {
    let mut head = RequestHead::default();
    head.parse(HEAD).expect("a request");
    head
}

fn parse(count: u32) {
    let mut head = RequestHead::default();
    for _ in 0..count {
        let mut scanner = HeadScanner::new(HeadLimits::default());
        let end = scanner.find_end(black_box(HEAD)).expect("a head");
        head.parse(&HEAD[..end.expect("all of it")])
            .expect("a request");
        black_box(&head);
    }
}

fn table() -> RouteTable {
    let geometry = Geometry::new(1, 1, 65_536).expect("a geometry");
    let routes = (0..999).map(|n| RouteSpec::for_tests(&format!("/api/{n}/{{id}}/{{*rest}}")));
    let routes = routes
        .chain([RouteSpec::for_tests("/api/items/{id}")])
        .collect();
    let session = Session::for_tests(1, "parts", routes, geometry);
    table_of(
        vec![(Arc::new(session), SessionState::Live)],
        &mut Absences::new(0),
    )
}

fn find(count: u32) {
    let (table, mut params) = (table(), Params::default());
    for _ in 0..count {
        let found = table.find(Method::Get, || None, black_box(PATH), &mut params);
        let found = found.unwrap_or_else(|why| panic!("{why:?}"));
        black_box(table.answer(found));
    }
}

/// A lane of a few slots, and the worker's side of it.
struct Pair {
    lane: Rc<Lane>,
    geometry: Geometry,
    regions: WorkerRegions,
    completions: CompletionProducer,
    head: RequestHead,
    params: Params,
    scratch: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let geometry = Geometry::new(1, 8, 65_536).expect("a geometry");
        let route = RouteSpec::for_tests("/api/items/{id}");
        let (lane, regions) = lane_and_regions(route, geometry);
        let (table, mut params) = (table(), Params::default());
        table
            .find(Method::Get, || None, PATH, &mut params)
            .expect("a route");
        Self {
            lane,
            geometry,
            regions,
            completions: CompletionProducer::default(),
            head: parsed(),
            params,
            scratch: Vec::new(),
        }
    }

    fn write(&mut self) -> Exchange {
        let exchange = Exchange::reserve(&self.lane).expect("a free slot");
        let peer = Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 80)));
        let request = Request {
            head: &self.head,
            head_bytes: HEAD,
            given: &[],
            params: &self.params,
            raw_params: false,
            route_index: 0,
            body: NO_BODY,
            client: Client {
                peer,
                is_https: false,
            },
            deadline_ns: 1,
            wants_times: false,
            offers_upgrade: false,
        };
        fill::write(&request, &exchange, &mut self.scratch).expect("it fits");
        exchange
    }

    /// The worker takes what is there, and answers it.
    fn answer(&mut self) {
        let lane = self.geometry.lane(0);
        let word_count = self.geometry.ring_entry_count() as usize * 2;
        let (requests, responses) = (&self.regions.requests, &self.regions.responses);
        let ring = submissions(&self.regions, &self.geometry);
        while let Some(entry) = ring.claim() {
            let entry = entry.expect("an honest hub");
            let slot = self.geometry.slot(&lane, entry.slot_index);
            let head: SlotHead = requests.copy_head(slot.request_head);
            let taken = responses.u64_at(slot.response_words);
            let cancelled = requests.u64_at(slot.request_words + 24);
            assert!(claim::take(taken, cancelled, entry.generation));
            responses.write(slot.response_arena, FIELDS);
            let body_offset = FIELDS.len().next_multiple_of(8) as u32;
            responses.write(slot.response_arena + u64::from(body_offset), BODY);
            let head = ResponseHead {
                generation: head.generation,
                status: 200,
                fields_bytes: FIELDS.len() as u32,
                body_offset,
                body_bytes: BODY.len() as u64,
                ..ResponseHead::default()
            };
            responses.write_head(slot.response_head, &head);
            let entries = responses.words_at(lane.completion_entries, word_count);
            let (slot, generation) = (entry.slot_index, entry.generation);
            self.completions
                .push(entries, CompletionKind::Response, slot, generation);
        }
    }
}

fn write(count: u32) {
    let mut pair = Pair::new();
    for _ in 0..count {
        // Given up before it was submitted, its slot is free again.
        drop(black_box(pair.write()));
    }
}

fn respond(count: u32) {
    let mut output = Vec::with_capacity(1024);
    for _ in 0..count {
        output.clear();
        encode::start(
            &mut output,
            200,
            BodyFraming::Length(7),
            Persistence::Stays,
            DATE,
        );
        let start = output.len();
        output.extend_from_slice(black_box(FIELDS));
        field_section::check(&output[start..], 200).expect("fields");
        encode::end_fields(&mut output);
        black_box(&output);
    }
}

fn round_trip(count: u32) {
    let mut pair = Pair::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut output = Vec::with_capacity(1024);
    for _ in 0..count {
        let exchange = pair.write();
        exchange.submit(u64::MAX / 2);
        pair.answer();
        pair.lane.drain().expect("an honest worker");
        let outcome = exchange.poll_outcome(&mut cx);
        assert_eq!(outcome, Poll::Ready(Outcome::Event(Event::Responded)));
        let head = exchange.copy_head();
        let bytes = exchange.arena_bytes();
        let checked = response_head::check(&head, exchange.generation(), bytes, false);
        output.clear();
        let response = checked.expect("an honest worker");
        let fields = ArenaPart {
            is_requests: false,
            offset: 0,
            bytes: response.fields_bytes,
        };
        exchange.append_from_arena(fields, &mut output);
        if let ResponseBody::Whole(body) = response.body {
            exchange.append_from_arena(body, &mut output);
        }
        exchange.release();
        black_box(&output);
    }
}
