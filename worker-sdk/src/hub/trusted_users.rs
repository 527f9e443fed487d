//! The users that a hub may run as beside the worker's own and root.

use slotway_shm_proto::accounts::uid_of;

use crate::error::RunError;

/// Users by name or number, with commas between them, as the environment's `HUB_USER` has them.
pub(crate) fn parse(text: &str) -> Result<Vec<u32>, RunError> {
    let names = text.split(',').map(str::trim);
    let users = names.filter(|name| !name.is_empty()).map(|name| {
        if let Ok(uid) = name.parse() {
            return Ok(uid);
        }
        let why = match uid_of(name) {
            Ok(Some(uid)) => return Ok(uid),
            Ok(None) => "there is no such user on this host".to_owned(),
            Err(error) => error.to_string(),
        };
        let name = name.to_owned();
        Err(RunError::HubUser { name, why })
    });
    users.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_or_numbered_and_one_who_does_not_exist_is_an_error() {
        assert_eq!(parse(" root, 12 ,").unwrap(), [0, 12]);
        assert!(parse("").unwrap().is_empty());
        let missing = parse("no-such-user").unwrap_err().to_string();
        assert!(missing.contains("HUB_USER") && missing.contains("no-such-user"));
    }
}
