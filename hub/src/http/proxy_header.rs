//! What a balancer says of a client before its bytes: the PROXY protocol, versions 1 and 2 (the
//! specification in `HAProxy`'s `doc/proxy-protocol.txt`). Anything that is not exactly one is an error.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The balancer speaks for itself: a health check.
    Local,
    /// It speaks for a client that it says nothing of.
    Unknown,
    /// It speaks for a client.
    Client {
        /// Where the client is.
        address: SocketAddr,
        /// The client spoke TLS to the balancer.
        is_https: bool,
    },
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The connection begins with something else.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// Version 1, and not as it is specified.
    #[error("a PROXY header of version 1 that is malformed")]
    Line,
    /// Version 2, and not as it is specified.
    #[error("a PROXY header of version 2 that is malformed")]
    Binary,
    /// Longer than any that is needed.
    #[error("a PROXY header of more than {HEADER_BYTES_MAX} bytes")]
    TooLong,
    /// Its checksum says that it was changed on its way.
    #[error("a PROXY header whose checksum is wrong")]
    Checksum,
    /// Of another kind than streams.
    #[error("a PROXY header for datagrams")]
    NotAStream,
}

/// The longest header that is read: balancers send a few hundred bytes with all that they can say.
pub const HEADER_BYTES_MAX: usize = 2048;

/// The longest line of version 1.
const LINE_BYTES_MAX: usize = 107;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE_START: &[u8] = b"PROXY ";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// The header that the bytes begin with, and its length; `None`: more are needed to say.
pub fn parse(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let begins = |start: &[u8]| {
        let common = start.len().min(bytes.len());
        bytes[..common] == start[..common]
    };
    if begins(LINE_START) {
        return parse_line(bytes);
    }
    if begins(SIGNATURE) {
        return parse_binary(bytes);
    }
    Err(ProxyHeaderError::Missing)
}

fn parse_line(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let wrong = ProxyHeaderError::Line;
    let searched = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        let is_too_long = bytes.len() >= LINE_BYTES_MAX;
        return if is_too_long { Err(wrong) } else { Ok(None) };
    };
    let line = searched[..end].strip_suffix(b"\r").ok_or(wrong)?;
    let line = std::str::from_utf8(line).map_err(|_| wrong)?;
    let mut words = line.split(' ').skip(1);
    let mut next = || words.next().ok_or(wrong);
    let kind = next()?;
    if kind == "UNKNOWN" {
        return Ok(Some((ProxyHeader::Unknown, end + 1)));
    }
    let address = |text: &str| -> Result<IpAddr, ProxyHeaderError> {
        let parsed = match kind {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from),
            _ => return Err(wrong),
        };
        parsed.map_err(|_| wrong)
    };
    let port = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let has_zero = text.len() > 1 && text.starts_with('0');
        let parsed = text.parse::<u16>().ok().filter(|_| is_plain && !has_zero);
        parsed.ok_or(wrong)
    };
    let (source, _) = (address(next()?)?, address(next()?)?);
    let (source_port, _) = (port(next()?)?, port(next()?)?);
    if next().is_ok() {
        return Err(wrong);
    }
    let client = ProxyHeader::Client {
        address: SocketAddr::new(source, source_port),
        is_https: false,
    };
    Ok(Some((client, end + 1)))
}

fn parse_binary(bytes: &[u8]) -> Result<Option<(ProxyHeader, usize)>, ProxyHeaderError> {
    let wrong = ProxyHeaderError::Binary;
    let Some(fixed) = bytes.get(..FIXED_BYTES) else {
        return Ok(None);
    };
    let (version_and_command, family) = (fixed[12], fixed[13]);
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > HEADER_BYTES_MAX {
        return Err(ProxyHeaderError::TooLong);
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(wrong),
    };
    let Some(header) = bytes.get(..length) else {
        return Ok(None);
    };
    let rest = &header[FIXED_BYTES..];
    // Both addresses, and both ports.
    let address_bytes = match family {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        0x12 | 0x22 | 0x32 => return Err(ProxyHeaderError::NotAStream),
        _ => return Err(wrong),
    };
    if is_local {
        // Its addresses, if any, are to be passed over.
        return Ok(Some((ProxyHeader::Local, length)));
    }
    if rest.len() < address_bytes {
        return Err(wrong);
    }
    let (addresses, values) = rest.split_at(address_bytes);
    // Behind an unspecified family may be anything.
    let is_https = family != 0 && check_values(header, values)?;
    let port = |at: usize| u16::from_be_bytes([addresses[at], addresses[at + 1]]);
    let address = match family {
        0x11 => {
            let ip: [u8; 4] = addresses[..4].try_into().map_err(|_| wrong)?;
            SocketAddr::new(Ipv4Addr::from(ip).into(), port(8))
        }
        0x21 => {
            let ip: [u8; 16] = addresses[..16].try_into().map_err(|_| wrong)?;
            SocketAddr::new(Ipv6Addr::from(ip).into(), port(32))
        }
        _ => return Ok(Some((ProxyHeader::Unknown, length))),
    };
    Ok(Some((ProxyHeader::Client { address, is_https }, length)))
}

/// A checksum of the header, with zeros in its own place.
const CRC32C: u8 = 0x03;
/// What is known of the client's TLS; a bit says that it spoke any.
const SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// Looks through the values behind the addresses. Says whether the client spoke TLS.
fn check_values(header: &[u8], mut values: &[u8]) -> Result<bool, ProxyHeaderError> {
    let wrong = ProxyHeaderError::Binary;
    let mut is_https = false;
    while let [kind, high, low, rest @ ..] = values {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(..length).ok_or(wrong)?;
        match *kind {
            SSL => is_https = *value.first().ok_or(wrong)? & CLIENT_SSL != 0,
            CRC32C => {
                let told = <[u8; 4]>::try_from(value).map_err(|_| wrong)?;
                let at = header.len() - rest.len();
                if crc32c(header, at..at + 4) != u32::from_be_bytes(told) {
                    return Err(ProxyHeaderError::Checksum);
                }
            }
            _ => {}
        }
        values = &rest[length..];
    }
    if values.is_empty() {
        Ok(is_https)
    } else {
        Err(wrong)
    }
}

/// Of bytes with zeros in a place. A header is short: no table is needed.
fn crc32c(bytes: &[u8], zeros: std::ops::Range<usize>) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut crc = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        let byte = if zeros.contains(&at) { 0 } else { *byte };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 127, 0, 0, 1, 0x30, 0x39, 0, 80];

    fn client(text: &str, is_https: bool) -> ProxyHeader {
        let address = text.parse().unwrap();
        ProxyHeader::Client { address, is_https }
    }

    #[test]
    fn both_versions_say_where_a_client_is() {
        let v6 = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 27],
            &[1],
            &[0x30, 0x39, 0, 80],
        ]
        .concat();
        let mut with_tls = V4.to_vec();
        with_tls.extend([SSL, 0, 5, CLIENT_SSL, 0, 0, 0, 0]);
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.1 127.0.0.1 12345 80\r\n".to_vec(),
                client("192.0.2.1:12345", false),
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(),
                client("[2001:db8::1]:1", false),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), ProxyHeader::Unknown),
            (
                b"PROXY UNKNOWN ffff::1 what ever\r\n".to_vec(),
                ProxyHeader::Unknown,
            ),
            (binary(0x21, 0x11, &V4), client("192.0.2.1:12345", false)),
            (
                binary(0x21, 0x11, &with_tls),
                client("192.0.2.1:12345", true),
            ),
            (binary(0x21, 0x21, &v6), client("[2001:db8::]:12345", false)),
            (binary(0x21, 0x31, &[b'x'; 216]), ProxyHeader::Unknown),
            (binary(0x21, 0x00, b"what ever"), ProxyHeader::Unknown),
            (binary(0x20, 0x00, b""), ProxyHeader::Local),
            (binary(0x20, 0x11, &V4), ProxyHeader::Local),
        ] {
            let mut bytes = header.clone();
            bytes.extend(b"GET / HTTP/1.1\r\n\r\n");
            let parsed = parse(&bytes).unwrap().unwrap();
            assert_eq!(parsed, (expected, header.len()), "{header:x?}");
            // Whatever has come of it is not enough, and not wrong.
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Ok(None), "{end} of {header:x?}");
            }
        }
    }

    #[test]
    fn what_is_none_is_refused_by_its_fault() {
        use ProxyHeaderError::{Binary, Line, Missing, NotAStream, TooLong};
        for (bytes, error) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), Missing),
            (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), Missing),
            (b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Missing),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n".to_vec(), Line),
            (b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Line),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(), Line),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n".to_vec(), Line),
            (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(), Line),
            (b"PROXY \r\n".to_vec(), Line),
            ([&b"PROXY UNKNOWN "[..], &[b'x'; 107]].concat(), Line),
            (binary(0x11, 0x11, &V4), Binary),
            (binary(0x22, 0x11, &V4), Binary),
            (binary(0x21, 0x41, &V4), Binary),
            (binary(0x21, 0x12, &V4), NotAStream),
            (binary(0x21, 0x11, &V4[..11]), Binary),
            (binary(0x21, 0x11, &[&V4[..], &[4, 0]].concat()), Binary),
            (
                binary(0x21, 0x11, &[&V4[..], &[4, 0, 2, 0]].concat()),
                Binary,
            ),
            (
                binary(0x21, 0x11, &[&V4[..], &[SSL, 0, 0]].concat()),
                Binary,
            ),
            (binary(0x21, 0x11, &[0; 3000]), TooLong),
        ] {
            assert_eq!(
                parse(&bytes),
                Err(error),
                "{:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    fn a_checksum_is_that_of_the_header_with_zeros_in_its_place() {
        // The check value of the algorithm.
        assert_eq!(crc32c(b"123456789", 0..0), 0xe306_9283);
        let mut header = binary(0x21, 0x11, &[&V4[..], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat());
        let at = header.len() - 4;
        let crc = crc32c(&header, at..at + 4).to_be_bytes();
        header[at..].copy_from_slice(&crc);
        assert!(parse(&header).unwrap().is_some());
        header[at] ^= 1;
        assert_eq!(parse(&header), Err(ProxyHeaderError::Checksum));
    }
}
