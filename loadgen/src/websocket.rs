//! `WebSocket` (RFC 6455), as far as an exchange of messages needs it: a request that upgrades a
//! connection, a message as a client sends it, and frames as a server does.

use bytes::Bytes;

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// The length is in the next two bytes, or eight.
const LENGTH_IN_2: u8 = 0x7e;
const LENGTH_IN_8: u8 = 0x7f;

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// By which a client's payload is masked. Any will do towards a server that is measured.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// What a request's fields say beside its own. A server answers the key with a digest, which would tell
/// no more than that it understood.
const FIELDS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: c2xvdHdheS1sb2FkZ2VuIQ==\r\n\r\n";

/// A message that is sent, and must come back.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// As it is sent.
    pub frame: Bytes,
    /// Its payload.
    pub payload: Bytes,
}

impl Message {
    /// With a payload.
    pub fn new(payload: &[u8]) -> Self {
        Self {
            frame: frame(payload).into(),
            payload: Bytes::copy_from_slice(payload),
        }
    }
}

/// Why a server's frames are not to be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It closes the connection.
    Closed,
    /// They are none.
    Malformed(&'static str),
}

/// The request that upgrades a connection at a path; `head` is what follows that, to the end of its own
/// fields.
pub fn handshake(path: &str, head: &str) -> Bytes {
    format!("GET {path}{head}{FIELDS}").into()
}

/// A binary message as a client sends it: one frame.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | BINARY];
    match payload.len() {
        length @ ..126 => frame.push(MASKED | length as u8),
        length @ ..0x1_0000 => {
            frame.push(MASKED | LENGTH_IN_2);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(MASKED | LENGTH_IN_8);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// What a frame of a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of its head.
    pub head_bytes: usize,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// Whether it is one of a message, and not of control.
    pub is_data: bool,
    /// Whether the message ends with it.
    pub is_last: bool,
}

/// The frame at the start of `bytes`, once its head is there.
pub fn parse(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & MASKED != 0 {
        return Err(FrameError::Malformed("a masked frame of a server"));
    }
    let (more, payload_bytes) = match second & LENGTH {
        LENGTH_IN_2 => match rest.first_chunk::<2>() {
            Some(length) => (2, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        LENGTH_IN_8 => match rest.first_chunk::<8>() {
            Some(length) => (8, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (0, length.into()),
    };
    let is_data = match first & OPCODE {
        CLOSE => return Err(FrameError::Closed),
        PING | PONG => false,
        0..=2 => true,
        _ => return Err(FrameError::Malformed("a frame that is none of WebSocket")),
    };
    Ok(Some(Frame {
        head_bytes: 2 + more,
        payload_bytes,
        is_data,
        is_last: first & FIN != 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_any_length_have_their_head_and_are_masked() {
        for (length, head_bytes) in [
            (0, 6),
            (5, 6),
            (125, 6),
            (126, 8),
            (65_535, 8),
            (65_536, 14),
        ] {
            let payload = vec![b'x'; length];
            let frame = frame(&payload);
            assert_eq!(frame.len(), head_bytes + length);
            let unmasked: Vec<u8> = frame[head_bytes..]
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect();
            assert_eq!(unmasked, payload);
            // A server sends the same without a mask.
            let mut sent = frame[..head_bytes - 4].to_vec();
            sent[1] &= LENGTH;
            let parsed = parse(&sent).unwrap().unwrap();
            assert_eq!(
                (parsed.head_bytes, parsed.payload_bytes),
                (head_bytes - 4, length as u64)
            );
            assert!(parsed.is_data && parsed.is_last);
            for cut in 0..sent.len() {
                assert_eq!(parse(&sent[..cut]), Ok(None), "{length} {cut}");
            }
        }
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        assert_eq!(parse(&[FIN | CLOSE, 0]), Err(FrameError::Closed));
        assert!(!parse(&[FIN | PING, 0]).unwrap().unwrap().is_data);
        assert!(!parse(&[BINARY, 0]).unwrap().unwrap().is_last);
        assert!(parse(&[FIN | BINARY, MASKED]).is_err());
        assert!(parse(&[FIN | 5, 0]).is_err());
    }
}
