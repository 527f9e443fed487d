use slotway_hub::http::error::HeadError;
use slotway_hub::http::framing::Framing;
use slotway_hub::http::head::HeadLimits;
use slotway_hub::http::head::RequestHead;
use slotway_hub::http::scan::HeadScanner;
use slotway_shm_proto::field::{is_token_byte, is_value_byte};
use slotway_shm_proto::layout::{FieldEntry, Span};

use crate::Choices;

/// A request head: the same however it is cut; what is let through reads the same
/// to a reader that knows nothing but lines and colons.
pub fn request_head(bytes: &[u8]) {
    let whole = HeadScanner::new(HeadLimits::default()).find_end(bytes);
    let pieces = find_end_in_pieces(bytes);
    match (whole, pieces) {
        // Where several things are wrong, what arrives first is found first.
        (Err(_), Err(_)) => return,
        // One that cannot become a request is refused before it ends, if it takes long.
        (Ok(Some(end)), Err(_)) => {
            let parsed = RequestHead::default().parse(&bytes[..end]);
            assert!(parsed.is_err(), "refused in pieces alone");
            return;
        }
        (whole, pieces) => assert_eq!(whole, pieces, "another end in pieces"),
    }
    let Ok(Some(end)) = whole else { return };
    let head_bytes = &bytes[..end];
    let mut head = RequestHead::default();
    let parsed = head.parse(head_bytes);
    let mut used = RequestHead::default();
    let before = used.parse(b"POST /a?b HTTP/1.0\r\nHost: a\r\nConnection: x\r\nX: y\r\n\r\n");
    assert_eq!(before, Ok(()));
    assert_eq!(
        parsed,
        used.parse(head_bytes),
        "another outcome when re-used"
    );
    if parsed.is_ok() {
        assert_eq!(
            format!("{head:?}"),
            format!("{used:?}"),
            "another head when re-used"
        );
        check_head(head_bytes, &head);
    }
}

fn find_end_in_pieces(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut scanner = HeadScanner::new(HeadLimits::default());
    let mut choices = Choices::from_bytes(bytes);
    let mut arrived = 0;
    while arrived < bytes.len() {
        arrived += 1 + choices.up_to((bytes.len() - arrived - 1).min(40));
        if let Some(end) = scanner.find_end(&bytes[..arrived])? {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

fn check_head(bytes: &[u8], head: &RequestHead) {
    assert_eq!(head.bytes, bytes.len());
    let part = |span: Span| &bytes[span.offset as usize..][..span.bytes as usize];
    for span in [head.target, head.path, head.query.unwrap_or_default()] {
        let text = part(span);
        assert!(
            text.iter().all(u8::is_ascii_graphic),
            "{text:?} in a target"
        );
    }
    assert!(part(head.path).starts_with(b"/") || head.asterisk || part(head.path).is_empty());
    for FieldEntry { name, value } in &head.fields {
        let (name, value) = (part(*name), part(*value));
        assert!(!name.is_empty() && name.iter().all(|byte| is_token_byte(*byte)));
        assert!(value.iter().all(|byte| is_value_byte(*byte)), "{value:?}");
        let name = name.to_ascii_lowercase();
        let hop_by_hop: [&[u8]; 7] = [
            b"connection",
            b"keep-alive",
            b"proxy-connection",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
        ];
        assert!(
            !hop_by_hop.contains(&&name[..]),
            "{name:?} reaches the worker"
        );
    }
    check_framing(bytes, head);
}

/// What a reader that knows only lines and colons makes of the framing.
fn check_framing(bytes: &[u8], head: &RequestHead) {
    let text = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let text = text.strip_prefix(b"\r\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r\n\r\n").expect("a head ends so");
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.contains(&b'\r') && !line.contains(&0), "{line:?}");
        line
    });
    lines.next().expect("a head has a request line");
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.expect("a line without a colon"));
        assert!(!name.is_empty(), "a field without a name");
        let value = value[1..].trim_ascii().to_ascii_lowercase();
        // Names that only look like these must not have come through at all.
        match &name.trim_ascii().to_ascii_lowercase()[..] {
            b"content-length" => lengths.push(value),
            b"transfer-encoding" => codings.push(value),
            _ => {}
        }
    }
    match head.framing {
        Framing::Chunked => {
            assert_eq!((lengths.len(), codings), (0, vec![b"chunked".to_vec()]));
        }
        Framing::Length(length) => {
            assert!(codings.is_empty(), "a coding was not seen");
            match &lengths[..] {
                [] => assert_eq!(length, 0),
                [only] => assert_eq!(std::str::from_utf8(only).unwrap().parse(), Ok(length)),
                more => panic!("{} lengths", more.len()),
            }
        }
    }
}
