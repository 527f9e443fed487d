//! The secret that peers from other hosts must send.

use std::fmt;

use subtle::ConstantTimeEq;

use super::error::ConfigError;
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
    /// What `HUB_SECRET` says, if it says anything.
    pub fn new(text: &str) -> Result<Option<Self>, ConfigError> {
        let text = text.trim();
        match text.chars().count() {
            0 => Ok(None),
            count if count < SECRET_CHARS_MIN => Err(ConfigError::SecretTooShort),
            _ => Ok(Some(Self(text.to_owned()))),
        }
    }

    /// Takes the same time wherever the first difference is.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(bytes).into()
    }
}
