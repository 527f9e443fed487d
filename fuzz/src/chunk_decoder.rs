use slotway_hub::http::chunked::{ChunkError, ChunkedDecoder};
use slotway_hub::http::encode::{self, chunk_size};

use crate::Choices;

const BODY_BYTES_MAX: u64 = 1 << 20;

/// What came of a body: its bytes, and how much of the input it was if it ended.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    body: Vec<u8>,
    end: Option<usize>,
}

/// A chunked body: the same however it is cut and however little room there is;
/// what the hub encodes it decodes to the same bytes and no further.
pub fn chunk_decoder(bytes: &[u8]) {
    let whole = decode(bytes, |_| (bytes.len(), bytes.len()));
    if let Ok(Decoded {
        body,
        end: Some(end),
    }) = &whole
    {
        assert_eq!(read_strictly(&bytes[..*end]).as_ref(), Some(body));
    }
    let mut choices = Choices::from_bytes(bytes);
    let pieces = decode(bytes, |left| {
        (1 + choices.up_to(left.min(12)), 1 + choices.up_to(7))
    });
    match (whole, pieces) {
        // Where several things are wrong, what arrives first is found first.
        (Err(_), Err(_)) => {}
        (whole, pieces) => assert_eq!(whole, pieces, "another outcome in pieces"),
    }
    there_and_back(bytes, &mut choices);
}

/// Feeds a decoder; `next` says how much more arrives, of what is left, and how
/// much room there is then.
fn decode(
    bytes: &[u8],
    mut next: impl FnMut(usize) -> (usize, usize),
) -> Result<Decoded, ChunkError> {
    let mut decoder = ChunkedDecoder::new(BODY_BYTES_MAX);
    let mut body = Vec::new();
    let (mut used, mut arrived) = (0, 0);
    loop {
        let (more, room) = next(bytes.len() - arrived);
        let is_all = arrived == bytes.len();
        arrived = bytes.len().min(arrived + more);
        let before = body.len();
        let progress = decoder.decode(&bytes[used..arrived], &mut body, room)?;
        assert!(
            progress.consumed <= arrived - used,
            "more used than there was"
        );
        assert!(
            body.len() - before <= room,
            "more written than there was room"
        );
        used += progress.consumed;
        assert!(body.len() <= used, "a body larger than its encoding");
        if progress.done {
            return Ok(Decoded {
                body,
                end: Some(used),
            });
        }
        if is_all && progress.consumed == 0 {
            return Ok(Decoded { body, end: None });
        }
    }
}

/// The body of a whole chunked message, by RFC 9112 section 7.1 to the letter.
fn read_strictly(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|window| window == b"\r\n")?;
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = std::str::from_utf8(&bytes[..digits.count()]).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        let extension = bytes[digits.len()..line].trim_ascii_start();
        if !(extension.is_empty() || extension.starts_with(b";")) {
            return None;
        }
        bytes = &bytes[line + 2..];
        if size == 0 {
            // A trailer section is lines up to an empty one.
            let end = [b"\r\n", bytes].concat();
            let is_ended = end.ends_with(b"\r\n\r\n") && !bytes.contains(&0);
            return is_ended.then_some(body);
        }
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
}

fn there_and_back(body: &[u8], choices: &mut Choices) {
    let mut encoded = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(1 + choices.up_to(rest.len() - 1));
        chunk_size(&mut encoded, chunk.len() as u32);
        encoded.extend_from_slice(chunk);
        encoded.extend_from_slice(b"\r\n");
        rest = tail;
    }
    encoded.extend_from_slice(encode::LAST_CHUNK);
    let end = encoded.len();
    encoded.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let decoded = decode(&encoded, |left| (1 + choices.up_to(left.min(50)), 64));
    let expected = Decoded {
        body: body.to_vec(),
        end: Some(end),
    };
    assert_eq!(decoded, Ok(expected));
}
