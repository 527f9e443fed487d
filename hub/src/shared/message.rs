//! What the control thread is told by the other threads.

use std::io;
use std::os::fd::OwnedFd;

use slotway_shm_proto::Method;
use slotway_shm_proto::credentials::PeerCredentials;
use slotway_shm_proto::message::Hello;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::http::local_reply::LocalReply;
use crate::lanes::violation::Violation;
use crate::routing::registration::ExpectedWorker;

/// What the other threads, and the control thread's own tasks, tell it.
#[derive(Debug)]
pub enum ControlMessage {
    /// A request, and where its response goes.
    Request(OwnRequest, oneshot::Sender<LocalReply>),
    /// Who operates the hub asks at the attach socket: a document, and the connection.
    Command(Vec<u8>, OwnedFd),
    /// Who operates the hub asks for something, and where the response goes.
    Operation(OperationRequest, oneshot::Sender<LocalReply>),
    /// A worker has said hello on the attach socket.
    Hello(Greeting),
    /// A worker wants to finish what it has and go.
    WorkerLeaves(u64),
    /// A worker's connection has closed or its process has ended.
    WorkerGone(u64, &'static str),
    /// A worker broke the protocol.
    Violation(u64, Violation),
    /// A worker left too many requests unanswered.
    TooManyUnanswered(u64),
    /// An upgrade begins: no worker attaches here any more. Answers what workers there
    /// are, with ids for the new hub.
    BeginHandover(oneshot::Sender<io::Result<Vec<ExpectedWorker>>>),
    /// The new hub expects these workers: they are told.
    TellMoving(Vec<ExpectedWorker>, oneshot::Sender<()>),
    /// The upgrade failed: workers attach here again.
    EndHandover,
    /// Workers that another hub hands over; answers, once they are expected, what will
    /// tell that all have attached.
    Expect(Vec<ExpectedWorker>, oneshot::Sender<oneshot::Receiver<()>>),
    /// A worker does not answer pings.
    Unresponsive(u64),
    /// The hub has no descriptors or memory for a worker any more.
    NoResources(u64),
    /// Every reactor has let go of a session.
    LanesClosed(u64),
    /// What routes may use has changed.
    Reloaded,
    /// Finish: say goodbye to every worker.
    Stop(oneshot::Sender<()>),
}

/// A request for one of the hub's own paths.
#[derive(Debug)]
pub struct OwnRequest {
    /// Its method.
    pub method: Method,
    /// Its path, without the prefix of the hub's own paths.
    pub path: String,
    /// Its query; empty if it has none.
    pub query: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// What those who operate the hub ask the control thread for.
#[derive(Clone, Debug)]
pub struct OperationRequest {
    /// What is asked for.
    pub operation: Operation,
    /// The query; empty if there is none.
    pub query: String,
    /// What the client accepts.
    pub accept: String,
}

/// See [`OperationRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whether the control thread lives.
    Live,
    /// Whether the hub takes requests; says why not if `is_detailed`.
    Ready {
        /// The client may know more.
        is_detailed: bool,
    },
    /// What has been counted.
    Metrics,
    /// The status page.
    Page,
    /// The parts of the page that change with the workers.
    Tables,
    /// The last minutes of a route.
    History,
}

/// A worker that wants to attach, from a user who may.
#[derive(Debug)]
pub struct Greeting {
    /// What it says.
    pub opening: Opening,
    /// Its connection.
    pub socket: OwnedFd,
    /// Its process, where this hub can see it, and its user.
    pub peer: PeerCredentials,
    /// Others of its user wait while it has this.
    pub turn: OwnedSemaphorePermit,
}

/// How a worker begins.
#[derive(Debug)]
pub enum Opening {
    /// It has registered over HTTP.
    Hello(Hello),
    /// It registers here.
    Register {
        /// As it would post it.
        document: Vec<u8>,
        /// Threads with a doorbell.
        thread_count: u32,
    },
}
