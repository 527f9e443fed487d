//! What each system is given: ordinary requests at several numbers of connections, requests at
//! a rate, and bodies of several sizes.

use std::time::Duration;

use slotway_loadgen::load::plan::{Length, Plan};
use slotway_loadgen::schedule::Rate;
use slotway_loadgen::workload::{Expected, Template, Workload};
use slotway_net::Engine;

use super::systems::System;

/// Before each measurement.
const WARMUP: Duration = Duration::from_millis(200);

/// One load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections, which a closed loop keeps busy.
    pub connection_count: usize,
    /// Requests per second of an open loop.
    pub rate: Option<u32>,
    /// Of the body that is to be echoed; without one it is a GET of seven bytes.
    pub body_bytes: usize,
}

/// Ordinary requests, one after the other on each connection.
pub const fn closed(connection_count: usize) -> Load {
    Load {
        connection_count,
        rate: None,
        body_bytes: 0,
    }
}

const fn open(rate: u32, connection_count: usize) -> Load {
    Load {
        connection_count,
        rate: Some(rate),
        body_bytes: 0,
    }
}

const fn echo(body_bytes: usize) -> Load {
    Load {
        connection_count: 8,
        rate: None,
        body_bytes,
    }
}

/// Every load, in the order of showing.
pub const ALL: [Load; 10] = [
    closed(1),
    closed(16),
    closed(64),
    closed(256),
    open(2_000, 8),
    open(20_000, 32),
    echo(1 << 10),
    echo(16 << 10),
    echo(64 << 10),
    echo(1 << 20),
];

impl Load {
    /// What it is called, in results and on the command line.
    pub fn name(&self) -> String {
        match (self.rate, self.body_bytes) {
            (Some(rate), _) => format!("rate-{rate}"),
            (None, 0) => format!("get-{}", self.connection_count),
            (None, size) => format!("echo-{}", size >> 10),
        }
    }

    /// The same in words.
    pub fn title(&self) -> String {
        let connections = match self.connection_count {
            1 => "1 connection".to_owned(),
            count => format!("{count} connections"),
        };
        match (self.rate, self.body_bytes) {
            (Some(rate), _) => format!("GET, {rate} requests/s (open loop, {connections})"),
            (None, 0) => format!("GET, {connections}"),
            (None, size) if size < 1 << 20 => format!("echo of {} KiB, {connections}", size >> 10),
            (None, size) => format!("echo of {} MiB, {connections}", size >> 20),
        }
    }

    /// Whether a system can be given it.
    pub fn is_for(&self, system: &System) -> bool {
        system.echoes || self.body_bytes == 0
    }

    /// The load generator's plan for it.
    pub fn plan(&self, system: &System, time: Duration) -> Plan {
        let has_body = self.body_bytes > 0;
        let (method, path) = if has_body {
            ("POST", "/api/echo")
        } else {
            ("GET", "/api/items/42")
        };
        let template = Template {
            method: method.to_owned(),
            fields: Vec::new(),
            body: vec![b'x'; self.body_bytes],
            ..Template::default()
        };
        let expected = Expected {
            status: Some(200),
            body_bytes: Some(if has_body { self.body_bytes as u64 } else { 7 }),
            sha256: None,
        };
        let url = format!("http://{}{path}", system.address);
        let workload = Workload::of_url(&url, &template, expected).expect("a URL of ours");
        Plan {
            connection_count: self.connection_count,
            rate: self.rate.map(|rate| Rate::constant(f64::from(rate))),
            warmup: WARMUP,
            length: Length::Time(time),
            ..Plan::new(workload, Engine::Epoll)
        }
    }
}
