//! Request methods that a route can be registered for.

use std::fmt;

use crate::limits::METHOD_BYTES_MAX;

/// A method of RFC 9110 section 9, or PATCH (RFC 5789), or any other. CONNECT and TRACE are
/// left out: a router of requests makes no tunnels and echoes no heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Method {
    /// GET
    Get = 1,
    /// HEAD
    Head = 2,
    /// POST
    Post = 3,
    /// PUT
    Put = 4,
    /// DELETE
    Delete = 5,
    /// OPTIONS
    Options = 6,
    /// PATCH
    Patch = 7,
    /// Any other, as QUERY, PURGE, or those of `WebDAV`; its token travels with the request.
    Other = 8,
}

impl Method {
    /// Those with a name, in the order an Allow field lists them.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Options,
        Self::Patch,
    ];

    /// The method of a request: [`Method::Other`] for a token that has no name here, of at most
    /// [`METHOD_BYTES_MAX`] bytes.
    pub fn of_request(token: &[u8]) -> Option<Self> {
        let known = Self::from_token(token);
        let is_other =
            !matches!(token, b"CONNECT" | b"TRACE" | b"") && token.len() <= METHOD_BYTES_MAX;
        known.or(is_other.then_some(Self::Other))
    }

    /// The method that a registration names: a token, or `*` for [`Method::Other`].
    pub fn of_route(word: &str) -> Option<Self> {
        if word == Self::Other.as_str() {
            return Some(Self::Other);
        }
        Self::from_token(word.as_bytes())
    }

    /// The method of a name; methods are case-sensitive (RFC 9110 section 9.1).
    pub fn from_token(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"PATCH" => Self::Patch,
            _ => return None,
        })
    }

    /// The method that a shared head names.
    pub fn from_word(word: u32) -> Option<Self> {
        let mut all = Self::ALL.into_iter().chain([Self::Other]);
        all.find(|method| *method as u32 == word)
    }

    /// Whether a request asks for nothing to be changed (RFC 9110 section 9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options)
    }

    /// Its token; `*` for [`Method::Other`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Other => "*",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_again_by_its_token_and_its_word() {
        for method in Method::ALL {
            assert_eq!(Method::from_token(method.as_str().as_bytes()), Some(method));
            assert_eq!(Method::from_word(method as u32), Some(method));
        }
        assert_eq!(Method::from_token(b"get"), None);
        assert_eq!(Method::of_request(b"get"), Some(Method::Other));
        assert_eq!(Method::of_request(b"GET"), Some(Method::Get));
        let long = [b'A'; METHOD_BYTES_MAX + 1];
        assert_eq!(Method::of_request(&long[1..]), Some(Method::Other));
        for none in [&long[..], b"", b"CONNECT", b"TRACE"] {
            assert_eq!(Method::of_request(none), None);
        }
        assert_eq!(Method::of_route("*"), Some(Method::Other));
        assert_eq!(Method::of_route("QUERY"), None);
        assert_eq!(Method::from_word(Method::Other as u32), Some(Method::Other));
        assert_eq!(Method::from_word(0), None);
    }
}
