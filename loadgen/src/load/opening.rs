//! Opening a thread's connections.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use slotway_net::{connect, monotonic_ns};

use super::errors::ErrorKind;
use super::groups::record_grown;
use super::setup::Setup;
use super::transport::Transport;

/// Opens the thread's connections, one after the other, and notes how long each takes. What cannot be opened
/// is tried again when its turn to send comes.
pub async fn open(
    setup: &Setup,
    times: &mut Histogram<u64>,
) -> (Vec<Option<Transport>>, Result<(), (ErrorKind, io::Error)>) {
    let mut transports = Vec::with_capacity(setup.connection_count);
    let mut result = Ok(());
    let start = tokio::time::Instant::now();
    for index in 0..setup.connection_count {
        if let Some(rate) = setup.connect_rate {
            let turn = start + Duration::from_secs_f64(index as f64 / rate);
            setup.unless_stopped(tokio::time::sleep_until(turn)).await;
        }
        if result.is_err() || setup.is_stopped() {
            transports.push(None);
            continue;
        }
        let start_ns = monotonic_ns();
        match setup.unless_stopped(connect_within(setup)).await {
            Some(Ok(transport)) => {
                record_grown(times, monotonic_ns() - start_ns);
                transports.push(Some(transport));
            }
            Some(Err(error)) => {
                result = Err(error);
                transports.push(None);
            }
            None => transports.push(None),
        }
    }
    (transports, result)
}

/// Connects, and agrees on TLS, within the time that a request may take.
pub async fn connect_within(setup: &Setup) -> Result<Transport, (ErrorKind, io::Error)> {
    let opening = async {
        let stream = connect(setup.engine, &setup.workload.address)
            .await
            .map_err(|error| (ErrorKind::of_connect(&error), error))?;
        Transport::open(stream, setup.workload.tls.as_ref())
            .await
            .map_err(|error| (ErrorKind::Tls, error))
    };
    match tokio::time::timeout(setup.timeout, opening).await {
        Ok(opened) => opened,
        Err(_) => Err((
            ErrorKind::Connect,
            io::Error::new(io::ErrorKind::TimedOut, "no response to connecting"),
        )),
    }
}
