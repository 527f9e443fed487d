//! Names of hosts, as requests and registrations have them.

use std::cmp::Ordering;

/// The name in an authority, in any case: without its port, and without the dot that may end
/// it. An IPv6 address keeps its brackets.
pub fn name_of(authority: &[u8]) -> &[u8] {
    let name = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !authority[colon..].contains(&b']') => &authority[..colon],
        _ => authority,
    };
    name.strip_suffix(b".").unwrap_or(name)
}

/// Orders a name in lower case and one in any case.
pub fn compare(lower: &str, any: &[u8]) -> Ordering {
    let any = any.iter().map(u8::to_ascii_lowercase);
    lower.bytes().cmp(any)
}

/// Checks the host of a registration, and writes it in lower case. The error says what is
/// wrong.
pub fn parse(host: &str) -> Result<String, &'static str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_address = host.starts_with('[') && host.ends_with(']');
    if is_address {
        let address = host[1..host.len() - 1].parse::<std::net::Ipv6Addr>();
        return match address {
            Ok(address) => Ok(format!("[{address}]")),
            Err(_) => Err("the host is not an IPv6 address in brackets"),
        };
    }
    if host.contains(':') {
        return Err("the host is a name without a port: requests of every port are meant");
    }
    if host.contains('*') {
        return Err("the host is one name: wildcards are not supported");
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_name) {
        return Err("the host is not a name like shop.example");
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_authority_has_no_port_and_no_last_dot() {
        for (authority, name) in [
            ("a.example", "a.example"),
            ("a.example:80", "a.example"),
            ("a.example.:80", "a.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(
                name_of(authority.as_bytes()),
                name.as_bytes(),
                "{authority}"
            );
        }
        assert_eq!(compare("a.example", b"A.Example"), Ordering::Equal);
        assert_ne!(compare("a.example", b"b.example"), Ordering::Equal);
    }

    #[test]
    fn a_registration_s_host_is_one_name() {
        assert_eq!(parse("Shop.Example.").as_deref(), Ok("shop.example"));
        assert_eq!(parse("[::1]").as_deref(), Ok("[::1]"));
        for wrong in [
            "",
            ".",
            "a:80",
            "*.example",
            "a/b",
            "[x]",
            "a b",
            "ä.example",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
