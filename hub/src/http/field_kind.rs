//! What a request's field is to the hub, by its name.

/// How a field of a request is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// It goes to the worker.
    EndToEnd,
    /// It is the connection's.
    HopByHop,
    /// See RFC 9110 section 10.1.4.
    Te,
    /// See RFC 9110 section 7.8.
    Upgrade,
    /// See RFC 9110 section 7.2.
    Host,
    /// See RFC 9112 section 6.2.
    ContentLength,
    /// See RFC 9112 section 6.1.
    TransferEncoding,
    /// See RFC 9110 section 7.6.1.
    Connection,
    /// See RFC 9110 section 10.1.1.
    Expect,
}

/// That of a name.
#[inline]
pub fn kind_of(name: &str) -> FieldKind {
    // The length rules out nearly every field before its bytes are compared.
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 if is("te") => FieldKind::Te,
        4 if is("host") => FieldKind::Host,
        6 if is("expect") => FieldKind::Expect,
        7 if is("upgrade") => FieldKind::Upgrade,
        7 if is("trailer") => FieldKind::HopByHop,
        10 if is("connection") => FieldKind::Connection,
        10 if is("keep-alive") => FieldKind::HopByHop,
        // For the hub alone.
        12 if is("x-hub-secret") => FieldKind::HopByHop,
        14 if is("content-length") => FieldKind::ContentLength,
        16 if is("proxy-connection") => FieldKind::HopByHop,
        17 if is("transfer-encoding") => FieldKind::TransferEncoding,
        _ => FieldKind::EndToEnd,
    }
}
