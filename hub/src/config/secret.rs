//! The secret that peers from other hosts must send.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq;

use super::error::ConfigError;
use super::source;
use crate::limits::SECRET_CHARS_MIN;

/// What peers that are not on this host must know. Not shown in logs.
#[derive(Clone)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// What `HUB_SECRET` or a file says, if they say anything.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let variable = std::env::var("HUB_SECRET").unwrap_or_default();
        let Some(path) = file else {
            return Self::new(&variable);
        };
        if !variable.trim().is_empty() {
            return Err(ConfigError::TwoSecrets);
        }
        let text = source::read(path).map_err(|error| ConfigError::SecretFile {
            path: path.to_owned(),
            error,
        })?;
        match Self::new(&text)? {
            Some(secret) => Ok(Some(secret)),
            None => Err(ConfigError::SecretTooShort),
        }
    }

    /// What `HUB_SECRET` says, if it says anything.
    pub fn new(text: &str) -> Result<Option<Self>, ConfigError> {
        let text = text.trim();
        match text.chars().count() {
            0 => Ok(None),
            count if count < SECRET_CHARS_MIN => Err(ConfigError::SecretTooShort),
            _ => Ok(Some(Self(text.to_owned()))),
        }
    }

    /// Whether two are the same, or both are missing.
    pub fn is_same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => one.is(other.0.as_bytes()),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// Takes the same time wherever the first difference is.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(bytes).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_all_of_it_and_is_not_shown() {
        let secret = Secret::new(" 0123456789abcdef\n").unwrap().unwrap();
        assert!(secret.is(b"0123456789abcdef"));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef0",
        ] {
            assert!(!secret.is(wrong.as_bytes()), "{wrong:?}");
        }
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!(Secret::is_same(None, None) && !Secret::is_same(Some(&secret), None));
    }
}
