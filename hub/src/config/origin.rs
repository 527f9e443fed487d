//! Web origins that `--cors-allow-origin` names.

use std::str::FromStr;

/// An origin that may read responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`
    Any,
    /// As browsers write it: scheme, host, and a port that is not the scheme's own.
    One(String),
}

impl FromStr for AllowedOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "expected *, or an origin like https://example.org:8443".to_owned();
        if text == "*" {
            return Ok(Self::Any);
        }
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let is_visible = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        // Browsers send no path, not even a slash.
        if scheme.is_empty() || host.is_empty() || host.contains('/') || !is_visible {
            return Err(wrong());
        }
        Ok(Self::One(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        let parsed: AllowedOrigin = "https://Example.org:8443".parse().unwrap();
        assert_eq!(
            parsed,
            AllowedOrigin::One("https://example.org:8443".to_owned())
        );
        assert_eq!("*".parse(), Ok(AllowedOrigin::Any));
        for wrong in [
            "",
            "example.org",
            "https://",
            "https://a/",
            "https://a/b",
            "http://a b",
        ] {
            assert!(wrong.parse::<AllowedOrigin>().is_err(), "{wrong}");
        }
    }
}
