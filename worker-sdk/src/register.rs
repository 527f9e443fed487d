//! Registering over HTTP: `POST /internal/register`.

use serde::{Deserialize, Serialize};
use slotway_shm_proto::message::WORKER_ID_BYTES;

use crate::error::RunError;
use crate::limits::{CONNECT_TIME, REGISTER_ANSWER_BYTES_MAX};

#[derive(Serialize)]
pub(crate) struct RegisterRequest {
    pub name: String,
    pub routes: Vec<RouteRegistration>,
    pub instance: bool,
}

#[derive(Serialize)]
pub(crate) struct RouteRegistration {
    pub method: String,
    pub path: String,
    pub retry: bool,
}

#[derive(Deserialize)]
struct RegisterAnswer {
    worker_id: String,
    attach: String,
}

/// What the hub reserved.
pub(crate) struct Reservation {
    pub worker_id: [u8; WORKER_ID_BYTES],
    pub attach: std::path::PathBuf,
}

/// Checks a hub URL when a worker is made, so that a typo is told at once.
pub(crate) fn check_url(url: &str) -> Result<(), RunError> {
    let refuse = |why: &str| RunError::Url {
        url: url.to_owned(),
        why: why.to_owned(),
    };
    let uri: ureq::http::Uri = url
        .parse()
        .map_err(|error: ureq::http::uri::InvalidUri| refuse(&error.to_string()))?;
    match uri.scheme_str() {
        Some("http") if uri.authority().is_some() => Ok(()),
        Some("https") => Err(refuse("the hub speaks HTTP without TLS")),
        _ => Err(refuse("it does not start with http:// and a host")),
    }
}

/// Registers; blocks for at most [`CONNECT_TIME`].
pub(crate) fn register(hub_url: &str, request: &RegisterRequest) -> Result<Reservation, RunError> {
    let url = format!("{hub_url}/internal/register");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(CONNECT_TIME))
        .http_status_as_error(false)
        // A proxy from the environment is for the world outside, not for the
        // hub on this host.
        .proxy(None)
        .build()
        .into();
    let unreachable = |error: ureq::Error| RunError::Unreachable {
        url: url.clone(),
        why: error.to_string(),
    };
    let document = serde_json::to_vec(request).expect("strings serialise");
    let mut answer = agent
        .post(&url)
        .header("content-type", "application/json")
        .send(&document[..])
        .map_err(unreachable)?;
    let body = answer
        .body_mut()
        .with_config()
        .limit(REGISTER_ANSWER_BYTES_MAX)
        .read_to_string()
        .map_err(unreachable)?;
    if !answer.status().is_success() {
        let status = answer.status().as_u16();
        return Err(RunError::Registration {
            status,
            answer: body.trim().to_owned(),
        });
    }
    let answer: RegisterAnswer = serde_json::from_str(&body)
        .map_err(|error| RunError::RegistrationAnswer(error.to_string()))?;
    let worker_id = answer.worker_id.as_bytes().try_into().map_err(|_| {
        let bytes = answer.worker_id.len();
        RunError::RegistrationAnswer(format!("a worker_id of {bytes} bytes"))
    })?;
    Ok(Reservation {
        worker_id,
        attach: answer.attach.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_none_of_a_hub_are_refused_with_the_reason() {
        assert!(check_url("http://127.0.0.1:3200").is_ok());
        assert!(check_url("http://localhost:3200").is_ok());
        for (url, why) in [
            ("", "empty"),
            ("127.0.0.1:3200", ""),
            ("https://h", "without TLS"),
            ("ftp://h", "http://"),
        ] {
            let error = check_url(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }
}
