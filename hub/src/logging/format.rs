//! How lines of the log are written.

/// How lines are written; times are in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// A JSON object in each line
    Json,
}
