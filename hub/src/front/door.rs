//! By which listener a connection has come.

/// Who comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Clients.
    Clients,
    /// Who operates the hub: however many clients there are, they find room.
    Operations,
}
