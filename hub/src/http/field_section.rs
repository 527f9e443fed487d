//! A worker's field section: wire-form lines that are checked after they have
//! been copied to where the hub sends them from.

use slotway_shm_proto::field::{is_close, is_token_byte, is_value_byte, may_be_a_workers};

/// Why a field section must not reach a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not `name: value CRLF` throughout.
    #[error("a field line is not \"name: value\" ended by CRLF")]
    Malformed,
    /// A control character in a value.
    #[error("a field value contains a control character")]
    ControlCharacter,
    /// A field that only the hub may set.
    #[error("a field belongs to the connection or the framing, which only the hub sets")]
    Reserved,
}

/// What a field section that may be sent says of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSection {
    /// `Connection: close`: the worker wants it to end.
    pub closes: bool,
}

/// Checks every line of the section of a response with this status.
pub fn check(mut section: &[u8], status: u16) -> Result<FieldSection, FieldError> {
    let mut found = FieldSection::default();
    while !section.is_empty() {
        let name = section
            .iter()
            .take_while(|byte| is_token_byte(**byte))
            .count();
        if name == 0 || section.get(name) != Some(&b':') {
            return Err(FieldError::Malformed);
        }
        let (name, value) = (&section[..name], &section[name + 1..]);
        let length = value
            .iter()
            .position(|byte| !is_value_byte(*byte))
            .ok_or(FieldError::Malformed)?;
        if !may_be_a_workers(name, &value[..length], status) {
            return Err(FieldError::Reserved);
        }
        found.closes |= is_close(name, &value[..length]);
        section = match &value[length..] {
            [b'\r', b'\n', rest @ ..] => rest,
            [b'\r'] => return Err(FieldError::Malformed),
            _ => return Err(FieldError::ControlCharacter),
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(section: &[u8]) -> Result<FieldSection, FieldError> {
        super::check(section, 200)
    }

    const PASSES: Result<FieldSection, FieldError> = Ok(FieldSection { closes: false });

    #[test]
    fn a_worker_may_close_the_connection_and_name_the_protocol_of_a_426() {
        let closes = FieldSection { closes: true };
        assert_eq!(check(b"Connection: Close\r\nx: y\r\n"), Ok(closes));
        assert_eq!(super::check(b"upgrade: websocket\r\n", 426), PASSES);
        for reserved in [
            &b"connection: upgrade\r\n"[..],
            b"connection: close, x\r\n",
            b"upgrade: websocket\r\n",
        ] {
            assert_eq!(check(reserved), Err(FieldError::Reserved));
        }
    }

    #[test]
    fn ordinary_fields_pass_with_any_bytes_a_value_may_have() {
        assert_eq!(check(b""), PASSES);
        assert_eq!(
            check(b"content-type: text/plain\r\nX-Empty:\r\nx:\xff\t \r\n"),
            PASSES
        );
    }

    #[test]
    fn what_would_split_the_answer_or_belongs_to_the_hub_is_refused() {
        for (section, expected) in [
            (
                &b"x: a\r\n\r\nHTTP/1.1 200 OK\r\n"[..],
                FieldError::Malformed,
            ),
            (b"x: a\r\ny\r\n", FieldError::Malformed),
            (b"x : a\r\n", FieldError::Malformed),
            (b" x: a\r\n", FieldError::Malformed),
            (b": a\r\n", FieldError::Malformed),
            (b"x: a", FieldError::Malformed),
            (b"x: a\r", FieldError::Malformed),
            (b"x: a\rb\r\n", FieldError::ControlCharacter),
            (b"x: a\nb\r\n", FieldError::ControlCharacter),
            (b"x: a\0\r\n", FieldError::ControlCharacter),
            (b"x: a\x7f\r\n", FieldError::ControlCharacter),
            (b"Content-Length: 3\r\n", FieldError::Reserved),
            (b"transfer-ENCODING: chunked\r\n", FieldError::Reserved),
            (b"connection: keep-alive\r\n", FieldError::Reserved),
        ] {
            assert_eq!(
                check(section),
                Err(expected),
                "{:?}",
                String::from_utf8_lossy(section)
            );
        }
    }
}
