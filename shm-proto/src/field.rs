//! Field syntax that hub and workers judge alike (RFC 9110 section 5), and the
//! fields that only the hub may write.

/// By which a worker takes up the protocol that a client offers (RFC 9110 section 15.2.2).
pub const SWITCHING_PROTOCOLS: u16 = 101;

/// tchar of RFC 9110 section 5.6.2.
#[inline]
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a field value may consist of: no control characters but the tab.
#[inline]
pub fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 32 && byte != 127)
}

/// Whether a response field is the hub's: it belongs to the connection or the
/// framing (RFC 9110 section 7.6.1), or says when the hub answered.
pub fn is_the_hubs(name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    // The length rules out nearly every field before its bytes are compared.
    match name.len() {
        2 => is("te"),
        4 => is("date"),
        7 => is("upgrade") || is("trailer"),
        10 => is("connection") || is("keep-alive"),
        14 => is("content-length"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}

/// Whether a field is `Connection: close`, by which a worker ends the connection of the
/// client that it answers.
pub fn is_close(name: &[u8], value: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"connection") && value.trim_ascii().eq_ignore_ascii_case(b"close")
}

/// Whether a worker may set a field in a response of this status: of the hub's only
/// [`is_close`], and the Upgrade that a 101 and a 426 must have (RFC 9110 sections 15.2.2 and
/// 15.5.22).
#[inline]
pub fn may_be_a_workers(name: &[u8], value: &[u8], status: u16) -> bool {
    !is_the_hubs(name)
        || is_close(name, value)
        || (matches!(status, SWITCHING_PROTOCOLS | 426) && name.eq_ignore_ascii_case(b"upgrade"))
}
