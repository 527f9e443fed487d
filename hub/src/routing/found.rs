//! What a look into the route table finds.

/// What answers a method on a path, in the table that it was found in.
#[derive(Clone, Copy, Debug)]
pub struct FoundRoute {
    /// Of the table, as far as it tells it from those of the last years.
    pub(super) version: u32,
    pub(super) entry_index: u32,
    pub(super) method_index: u32,
}

/// Why nothing answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute<'t> {
    /// The path has routes, but none for the method.
    WrongMethod {
        /// Value of the Allow field.
        allow: &'t str,
    },
    /// No pattern matches the path.
    NotFound,
}
