//! JSON documents from outside: what is wrong with one is said with its field.

use serde::de::DeserializeOwned;

use super::error::ControlError;
use crate::limits::DOCUMENT_ERROR_CHARS_MAX;

/// Reads a document.
pub fn read<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, ControlError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = short(&error.path().to_string());
        let why = short(&format!("not {what}: {}", error.inner()));
        // A dot stands for the document as a whole, a question mark for no knowing.
        if path == "." || path.contains('?') {
            ControlError::Document { field: None, why }
        } else {
            ControlError::field(&path, why)
        }
    })?;
    json.end().map_err(|error| ControlError::Document {
        field: None,
        why: format!("not {what}: {error}"),
    })?;
    Ok(read)
}

/// An error may quote all that was sent.
fn short(text: &str) -> String {
    match text.char_indices().nth(DOCUMENT_ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
