//! From a path to the workers that serve it.
//!
//! [`pattern`] reads a route's pattern, [`tree`] finds the pattern that matches a path and
//! its [`params`], [`table`] is the snapshot that a reactor looks routes up in (the
//! current one is in a [`cell`], an `entry` of its `entries` is what answers a pattern, [`found`] is what a look
//! finds, and the [`editor`] makes the next one), and [`session`] is a worker that has attached, with the client sockets that it holds ([`upgrades`]) and the files that it answers with ([`handed_files`]). A [`registration`] is what it registered, and
//! [`own_paths`] are the paths that none can register. [`host`] reads names of hosts, [`conflict`] says
//! which routes cannot stand beside each other, and [`absence`] is what stays of those whose
//! workers have gone. [`limits`] are what a route may use by which rules ([`limit_rules`]; [`concurrency`] counts its requests), and an [`area`] is all routes within a
//! pattern.
//!
//! Whether patterns may stand beside each other is decided by pairs and not by order: two
//! of the same shape must be the same, and all others go together. So the order in which
//! workers come back, and which of them have gone, can refuse nobody.

pub mod absence;
pub mod area;
pub mod cell;
pub mod concurrency;
pub mod conflict;
pub mod editor;
mod entries;
mod entry;
pub mod found;
pub mod handed_files;
pub mod host;
pub mod limit_rules;
pub mod limits;
pub mod own_paths;
pub mod params;
pub mod pattern;
pub mod registration;
pub mod session;
pub mod table;
pub mod tree;
pub mod upgrades;
