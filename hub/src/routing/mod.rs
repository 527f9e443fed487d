//! Which route a path is: patterns, and the tree that finds the one that matches.
//!
//! Whether patterns may stand beside each other is decided by pairs and not by order:
//! two of the same shape must be the same (`pattern`), and all others go together. So
//! the order in which workers come back, and who has gone, can refuse nobody.

pub mod params;
pub mod pattern;
pub mod tree;
