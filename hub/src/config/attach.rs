//! Flags of the attach socket: where it is, and which users' workers may attach.

use std::path::PathBuf;

use clap::Args;

use super::account::{FileAccess, FileMode, Group, User};
use super::error::ConfigError;
use crate::routing::area::RouteArea;

/// Flags of the attach socket.
#[derive(Clone, Debug, Args)]
pub struct AttachOptions {
    /// Unix socket at which workers attach [default: under `$XDG_RUNTIME_DIR`, /run, or a
    /// private folder in /tmp]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Permissions of its file [default: 0600; 0660 with --socket-group; 0666 where
    /// other users may attach, since the hub asks the system who attaches]
    #[arg(long, value_name = "MODE")]
    pub socket_mode: Option<FileMode>,

    /// The group of its file
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<Group>,

    /// A user whose workers may attach, by name or number, beside the hub's own and root; may be
    /// given again
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    pub attach_user: Vec<User>,

    /// A group whose members' workers may attach; may be given again
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub attach_group: Vec<Group>,

    /// The `[[attach]]` tables of the configuration file
    #[arg(skip)]
    pub rules: Vec<AttachRule>,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachPeer {
    /// A user.
    User(User),
    /// All members of a group.
    Group(Group),
}

/// Who may attach, as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRule {
    /// Whose workers.
    pub peer: AttachPeer,
    /// The routes that they may serve; all without any.
    pub routes: Vec<RouteArea>,
    /// The names that they may have; any without one.
    pub names: Vec<String>,
    /// They may send events to clients of `/events` though they are limited.
    pub events: bool,
}

impl AttachOptions {
    /// Who may use the socket's file.
    pub fn file_access(&self) -> FileAccess {
        let has_others =
            !(self.attach_user.is_empty() && self.attach_group.is_empty() && self.rules.is_empty());
        let usual = match (&self.socket_group, has_others) {
            (Some(_), _) => 0o660,
            (None, true) => 0o666,
            (None, false) => 0o600,
        };
        FileAccess {
            mode: Some(self.socket_mode.unwrap_or(FileMode(usual))),
            group: self.socket_group.clone(),
        }
    }

    /// All rules; those of flags have no limits. A user or group with and without limits is a
    /// contradiction.
    pub fn rules(&self) -> Result<Vec<AttachRule>, ConfigError> {
        let users = self.attach_user.iter().cloned().map(AttachPeer::User);
        let groups = self.attach_group.iter().cloned().map(AttachPeer::Group);
        let unlimited = users.chain(groups).map(|peer| AttachRule {
            peer,
            routes: Vec::new(),
            names: Vec::new(),
            events: true,
        });
        let rules: Vec<_> = unlimited.chain(self.rules.iter().cloned()).collect();
        for (index, rule) in rules.iter().enumerate() {
            let is_same = |other: &&AttachRule| {
                other.peer.number() == rule.peer.number() && other.is_limited() != rule.is_limited()
            };
            if let Some(other) = rules[index + 1..].iter().find(is_same) {
                return Err(ConfigError::AttachTwice(other.peer.to_string()));
            }
        }
        Ok(rules)
    }
}

impl AttachRule {
    /// Whether its workers may send events to whoever listens.
    pub fn may_emit(&self) -> bool {
        self.events || !self.is_limited()
    }

    fn is_limited(&self) -> bool {
        !(self.routes.is_empty() && self.names.is_empty())
    }
}

impl AttachPeer {
    /// Whether it is a group, and its number.
    fn number(&self) -> (bool, u32) {
        match self {
            Self::User(user) => (false, user.uid),
            Self::Group(group) => (true, group.gid),
        }
    }
}

impl std::fmt::Display for AttachPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {}", user.text),
            Self::Group(group) => write!(f, "group {}", group.text),
        }
    }
}
