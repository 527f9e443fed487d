use slotway_hub::http::chunked::ChunkedDecoder;
use slotway_hub::http::encode::{self, BodyFraming, Persistence};
use slotway_hub::http::field_section;

const DATE: &[u8] = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

/// A response with whatever field section and body a worker may claim: unless it is
/// refused, another implementation reads from it exactly the hub's framing, the
/// worker's fields as they were, and the body.
///
/// The first bytes choose status, framing and persistence; a zero byte parts the
/// field section from the body.
pub fn response_encoder(bytes: &[u8]) {
    let [status_byte, choice, rest @ ..] = bytes else {
        return;
    };
    let parting = rest.iter().position(|byte| *byte == 0);
    let (section, body) = rest.split_at(parting.unwrap_or(rest.len()));
    let body = body.get(1..).unwrap_or_default();
    let status = 200 + (u32::from(*status_byte) * 399 / 255) as u16;
    let Ok(fields) = field_section::check(section, status) else {
        return;
    };
    let framing = match choice % 4 {
        _ if encode::is_bodiless(status) => BodyFraming::None,
        0 => BodyFraming::Chunked,
        1 => BodyFraming::UntilClose,
        _ => BodyFraming::Length(body.len() as u64),
    };
    let persistence = match choice / 4 % 3 {
        // The worker's own field says it.
        _ if fields.closes => Persistence::Stays,
        0 => Persistence::Stays,
        1 => Persistence::StaysHttp10,
        _ => Persistence::Closes,
    };
    let mut out = Vec::new();
    encode::start(&mut out, status, framing, persistence, DATE);
    out.extend_from_slice(section);
    encode::end_fields(&mut out);
    let head_bytes = out.len();
    match framing {
        BodyFraming::Chunked => {
            for piece in body.chunks(7) {
                encode::chunk_size(&mut out, piece.len() as u32);
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(encode::LAST_CHUNK);
        }
        BodyFraming::None => {}
        BodyFraming::Length(_) | BodyFraming::UntilClose => out.extend_from_slice(body),
    }
    check_answer(&out, head_bytes, status, framing, section, body);
}

fn check_answer(
    out: &[u8],
    head_bytes: usize,
    status: u16,
    framing: BodyFraming,
    section: &[u8],
    body: &[u8],
) {
    let line_count = section.split(|byte| *byte == b'\n').count() - 1;
    let mut fields = vec![httparse::EMPTY_HEADER; line_count + 4];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(out).expect("another reader understands it");
    assert_eq!(
        parsed,
        httparse::Status::Complete(head_bytes),
        "another end of the head"
    );
    assert_eq!((response.version, response.code), (Some(1), Some(status)));
    let named = |name: &str| {
        let is = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        response.headers.iter().filter(is).collect::<Vec<_>>()
    };
    assert_eq!(named("date").len(), 1);
    let lines = section.split(|byte| *byte == b'\n');
    let is_connection = |line: &&[u8]| line.to_ascii_lowercase().starts_with(b"connection:");
    let workers_own = lines.filter(is_connection).count();
    let own_count = 1 + named("connection").len() - workers_own
        + named("content-length").len()
        + named("transfer-encoding").len();
    assert_eq!(
        response.headers.len(),
        line_count + own_count,
        "fields appeared or went"
    );
    let lengths = named("content-length");
    let codings = named("transfer-encoding");
    let rest = &out[head_bytes..];
    match framing {
        BodyFraming::Length(bytes) => {
            assert_eq!((lengths.len(), codings.len()), (1, 0));
            assert_eq!(lengths[0].value, bytes.to_string().as_bytes());
            assert_eq!(rest, body);
        }
        BodyFraming::Chunked => {
            assert_eq!((lengths.len(), codings.len()), (0, 1));
            assert_eq!(codings[0].value, b"chunked");
            let mut arrived = Vec::new();
            let mut decoder = ChunkedDecoder::new(u64::MAX);
            let progress = decoder.decode(rest, &mut arrived, usize::MAX);
            let progress = progress.expect("its own coding");
            assert!(progress.done && progress.consumed == rest.len());
            assert_eq!(arrived, body);
        }
        BodyFraming::UntilClose | BodyFraming::None => {
            assert_eq!((lengths.len(), codings.len()), (0, 0));
        }
    }
}
