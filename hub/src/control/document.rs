//! JSON documents from outside: what is wrong with one is said with its field.

use serde::de::DeserializeOwned;

use crate::http::local_reply::LocalReply;
use crate::limits::DOCUMENT_ERROR_CHARS_MAX;

/// Reads a document; the error is the answer, 400.
pub fn read<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, LocalReply> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = short(&error.path().to_string());
        let why = short(&format!("not {what}: {}", error.inner()));
        // A dot stands for the document as a whole, a question mark for no knowing.
        if path == "." || path.contains('?') {
            LocalReply::error(400, why)
        } else {
            LocalReply::field_error(400, &path, why)
        }
    })?;
    json.end()
        .map_err(|error| LocalReply::error(400, format!("not {what}: {error}")))?;
    Ok(read)
}

/// An error may quote all that was sent.
fn short(text: &str) -> String {
    match text.char_indices().nth(DOCUMENT_ERROR_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
