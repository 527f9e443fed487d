//! The request target and authorities (RFC 9112 section 3.2, RFC 3986).

use super::error::HeadError;

/// A target in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// Path, not decoded; `/` where an absolute form has none.
    pub path: &'b [u8],
    /// Query without `?`.
    pub query: Option<&'b [u8]>,
    /// Authority of an absolute form; it overrides Host.
    pub authority: Option<&'b [u8]>,
    /// `*`, with OPTIONS.
    pub asterisk: bool,
}

/// Cuts a target up, refusing bytes that a URI cannot have.
pub fn parse<'b>(target: &'b [u8], method: &str) -> Result<Target<'b>, HeadError> {
    if let Some(byte) = target
        .iter()
        .find(|byte| !matches!(byte, 0x21..=0x7e) || **byte == b'#')
    {
        return Err(HeadError::BadRequest(if *byte == b'#' {
            "the request target has a fragment"
        } else {
            "the request target has bytes that must be percent-encoded"
        }));
    }
    if method == "CONNECT" {
        return Err(HeadError::NotImplemented("no tunnels are made here"));
    }
    if target == b"*" {
        return if method == "OPTIONS" {
            Ok(Target {
                path: target,
                query: None,
                authority: None,
                asterisk: true,
            })
        } else {
            Err(HeadError::BadRequest("only OPTIONS may use the target *"))
        };
    }
    let (authority, rest) = if target.starts_with(b"/") {
        (None, target)
    } else {
        let rest = strip_scheme(target).ok_or(HeadError::BadRequest(
            "the request target is neither a path nor a URL",
        ))?;
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'))
            .unwrap_or(rest.len());
        (Some(&rest[..end]), &rest[end..])
    };
    let (mut path, query) = match memchr::memchr(b'?', rest) {
        Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
        None => (rest, None),
    };
    if path.is_empty() {
        // An absolute form may leave the path out. Parts of a target are
        // slices of it, and its scheme ends in a slash.
        let slash = memchr::memchr(b'/', target).unwrap_or_default();
        path = &target[slash..=slash];
    }
    Ok(Target {
        path,
        query,
        authority,
        asterisk: false,
    })
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme.as_bytes())
            .then_some(rest)
    })
}

/// Checks a Host value or an authority: a host and perhaps a port, no user. A host
/// with percent-encoding, which RFC 3986 allows and no name needs, could hold bytes
/// on which two readers disagree: it is refused.
pub fn check_authority(authority: &[u8]) -> Result<(), HeadError> {
    let error = HeadError::BadRequest("Host must be a host name or address with an optional port");
    let (host, port) = if let Some(rest) = authority.strip_prefix(b"[") {
        let end = memchr::memchr(b']', rest).ok_or(error)?;
        let (address, rest) = (&rest[..end], &rest[end + 1..]);
        let legal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if address.is_empty() || !address.iter().all(legal) {
            return Err(error);
        }
        match rest {
            [] => (address, None),
            [b':', port @ ..] => (address, Some(port)),
            _ => return Err(error),
        }
    } else {
        match memchr::memchr(b':', authority) {
            Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
            None => (authority, None),
        }
    };
    let legal = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':')
    };
    if host.is_empty() || !host.iter().all(legal) {
        return Err(error);
    }
    match port {
        Some(port) if port.len() > 5 || !port.iter().all(u8::is_ascii_digit) => Err(error),
        _ => Ok(()),
    }
}

/// Whether an authority that [`check_authority`] let through names this host itself:
/// `localhost`, names below it (RFC 6761 section 6.3), or a loopback address.
pub fn is_loopback_host(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else {
        return false;
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if let Ok(address) = host.parse::<std::net::IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Decodes `%XX` of a path parameter behind the end of `out`. Says nothing was
/// done when nothing is encoded.
///
/// The result must be UTF-8, since workers read parameters as text.
pub fn percent_decode(raw: &[u8], out: &mut Vec<u8>) -> Result<bool, HeadError> {
    if memchr::memchr(b'%', raw).is_none() {
        return Ok(false);
    }
    let error = HeadError::BadRequest("a path parameter has invalid percent-encoding");
    let start = out.len();
    let mut rest = raw;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let [high, low, tail @ ..] = tail else {
                return Err(error);
            };
            let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(error);
            out.push((digit(*high)? * 16 + digit(*low)?) as u8);
            rest = tail;
        } else {
            out.push(*byte);
        }
    }
    if std::str::from_utf8(&out[start..]).is_err() {
        return Err(HeadError::BadRequest(
            "a path parameter is not valid UTF-8 after decoding",
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_form_gives_its_path_and_its_authority() {
        let target = parse(b"HTTP://h:80/p?q", "GET").unwrap();
        assert_eq!(
            (target.path, target.query, target.authority),
            (&b"/p"[..], Some(&b"q"[..]), Some(&b"h:80"[..]))
        );
        assert_eq!(parse(b"http://h?q", "GET").unwrap().path, b"/");
        assert!(parse(b"ftp://h/", "GET").is_err());
    }

    #[test]
    fn only_loopback_names_and_addresses_are_this_host() {
        for own in [
            "localhost",
            "LocalHost:3200",
            "localhost.",
            "hub.localhost:80",
            "127.0.0.1:3200",
            "127.9.9.9",
            "[::1]:3200",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_loopback_host(own.as_bytes()), "{own}");
        }
        for other in [
            "localhost.example.org",
            "notlocalhost",
            "127.0.0.1.example.org",
            "10.0.0.1",
            "[2001:db8::1]:80",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_host(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn authorities_that_are_none_are_refused() {
        for good in [
            "h",
            "h:",
            "h:80",
            "EXAMPLE.com.",
            "[::1]",
            "[::1]:80",
            "127.0.0.1:1",
        ] {
            assert_eq!(check_authority(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "", "u@h", "h/p", "a,b", "h:x", "h:123456", "[::1", "[]", "[::1]x", "a b", ":80",
        ] {
            assert!(check_authority(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn parameters_are_decoded_once_and_only_to_utf_8() {
        let mut out = b"kept".to_vec();
        assert_eq!(percent_decode(b"plain", &mut out), Ok(false));
        assert_eq!(percent_decode(b"a%2Fb%25", &mut out), Ok(true));
        assert_eq!(out, b"kepta/b%");
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert!(
                percent_decode(bad.as_bytes(), &mut Vec::new()).is_err(),
                "{bad}"
            );
        }
    }
}
