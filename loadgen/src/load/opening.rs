//! Opening a thread's connections.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use slotway_net::{Stream, connect, monotonic_ns};

use super::errors::ErrorKind;
use super::groups::record_grown;
use super::setup::Setup;

/// Opens the thread's connections, one after the other, and notes how long each takes. What cannot be opened
/// is tried again when its turn to send comes.
pub async fn open(
    setup: &Setup,
    times: &mut Histogram<u64>,
) -> (Vec<Option<Rc<Stream>>>, Result<(), (ErrorKind, io::Error)>) {
    let mut streams = Vec::with_capacity(setup.connection_count);
    let mut result = Ok(());
    let start = tokio::time::Instant::now();
    for index in 0..setup.connection_count {
        if let Some(rate) = setup.connect_rate {
            let turn = start + Duration::from_secs_f64(index as f64 / rate);
            setup.unless_stopped(tokio::time::sleep_until(turn)).await;
        }
        if result.is_err() || setup.is_stopped() {
            streams.push(None);
            continue;
        }
        let start_ns = monotonic_ns();
        match setup.unless_stopped(connect_within(setup)).await {
            Some(Ok(stream)) => {
                record_grown(times, monotonic_ns() - start_ns);
                streams.push(Some(Rc::new(stream)));
            }
            Some(Err(error)) => {
                result = Err(error);
                streams.push(None);
            }
            None => streams.push(None),
        }
    }
    (streams, result)
}

/// Connects, within the time that a request may take.
pub async fn connect_within(setup: &Setup) -> Result<Stream, (ErrorKind, io::Error)> {
    let connecting = connect(setup.engine, &setup.workload.address);
    match tokio::time::timeout(setup.timeout, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err((ErrorKind::of_connect(&error), error)),
        Err(_) => Err((
            ErrorKind::Connect,
            io::Error::new(io::ErrorKind::TimedOut, "no response to connecting"),
        )),
    }
}
