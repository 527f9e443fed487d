//! Users and groups of this host, by name or number.

use std::fmt;
use std::io;
use std::str::FromStr;

use slotway_shm_proto::accounts::{gid_of, uid_of};

/// A user, who exists or was given by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As it was written.
    pub text: String,
    /// Its number.
    pub uid: u32,
}

/// A group, which exists or was given by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As it was written.
    pub text: String,
    /// Its number.
    pub gid: u32,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uid = number_of(text, "user", uid_of)?;
        let text = text.to_owned();
        Ok(Self { text, uid })
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let gid = number_of(text, "group", gid_of)?;
        let text = text.to_owned();
        Ok(Self { text, gid })
    }
}

fn number_of(
    text: &str,
    what: &str,
    find: impl FnOnce(&str) -> io::Result<Option<u32>>,
) -> Result<u32, String> {
    if text.is_empty() {
        return Err(format!("expected a {what}'s name or number"));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // The largest is no user's: the system says "none" with it.
        let number = text.parse().ok().filter(|number| *number != u32::MAX);
        return number.ok_or_else(|| format!("expected a {what}'s number below {}", u32::MAX));
    }
    match find(text) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(format!("there is no {what} of this name on this host")),
        Err(error) => Err(format!("cannot look the {what} up: {error}")),
    }
}

/// The permissions of a socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok();
        match mode.filter(|mode| is_octal && *mode <= 0o777) {
            Some(mode) => Ok(Self(mode)),
            None => Err("expected permissions like 0660".to_owned()),
        }
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Who may use a socket's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileAccess {
    /// Its permissions; without, what the umask leaves.
    pub mode: Option<FileMode>,
    /// Its group; without, the hub's own.
    pub group: Option<Group>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_known_by_name_or_given_by_number() {
        assert_eq!("root".parse::<User>().unwrap().uid, 0);
        assert_eq!("root".parse::<Group>().unwrap().gid, 0);
        assert_eq!("12345".parse::<User>().unwrap().uid, 12345);
        let missing = "no-such-user".parse::<User>().unwrap_err();
        assert!(missing.contains("no user of this name"), "{missing}");
        for wrong in ["", "4294967295", "99999999999"] {
            assert!(wrong.parse::<User>().is_err() && wrong.parse::<Group>().is_err());
        }
    }

    #[test]
    fn modes_are_octal_permissions() {
        assert_eq!("0660".parse(), Ok(FileMode(0o660)));
        assert_eq!("600".parse::<FileMode>().unwrap().to_string(), "0600");
        for wrong in ["", "60", "0680", "4660", "rw", "+660", "00660"] {
            assert!(wrong.parse::<FileMode>().is_err(), "{wrong}");
        }
    }
}
