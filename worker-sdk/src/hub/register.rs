//! Registering over HTTP: `POST /internal/register`, where the attach socket cannot be
//! found or its hub is of an earlier release.

use slotway_shm_proto::api::RegisterResponse;
use slotway_shm_proto::message::WORKER_ID_BYTES;

use crate::error::RunError;
use crate::hub::client::HubClient;

/// What the hub reserved.
pub(crate) struct Reservation {
    pub worker_id: [u8; WORKER_ID_BYTES],
    pub attach: std::path::PathBuf,
}

const PATH: &str = "/internal/register";

/// Registers. Blocks, for as long as the client lets a request take.
pub(crate) fn register(hub: &HubClient, document: &[u8]) -> Result<Reservation, RunError> {
    let response = hub
        .post(PATH, document)
        .map_err(|why| RunError::Unreachable {
            url: hub.url_of(PATH),
            why,
        })?;
    if !(200..300).contains(&response.status) {
        return Err(RunError::Registration {
            status: response.status,
            response: response.text.trim().to_owned(),
        });
    }
    let response: RegisterResponse = serde_json::from_str(&response.text)
        .map_err(|error| RunError::RegistrationResponse(error.to_string()))?;
    let worker_id = response.worker_id.as_bytes().try_into().map_err(|_| {
        let bytes = response.worker_id.len();
        RunError::RegistrationResponse(format!("a worker_id of {bytes} bytes"))
    })?;
    Ok(Reservation {
        worker_id,
        attach: response.attach.into(),
    })
}
