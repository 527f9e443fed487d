//! The front door: accepts clients, reads a request's head, decides who may ask and which
//! part of the hub answers.
//!
//! [`listener`] accepts a client, [`connection`] is its loop (`proxied` reads for whom a balancer speaks), [`request`] the fork from
//! which a request goes on: to a worker ([`proxy`](crate::proxy)), to an event stream
//! ([`sse`](crate::sse)) or to the control thread. [`auth`] says who may ask for what and
//! [`cors`] which web pages may. [`identity`] tells requests apart. [`operations`] is for who operates the hub, who may come by a
//! [`door`] of their own.

pub mod auth;
pub mod connection;
pub mod cors;
pub mod door;
mod identity;
pub mod listener;
mod operations;
mod proxied;
pub mod request;
