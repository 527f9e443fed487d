//! Which engine a thread's sockets run on.

use std::fmt;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use tokio::task::LocalSet;

use crate::direct;
use crate::uring::{self, Refusal};

/// What moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `io_uring(7)`, on tokio-uring.
    Uring,
    /// `io_uring(7)`, driven by this crate.
    UringDirect,
    /// `epoll(7)`, on tokio.
    Epoll,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Uring, Self::UringDirect, Self::Epoll];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Uring => "io_uring",
            Self::UringDirect => "io_uring (direct)",
            Self::Epoll => "epoll",
        })
    }
}

/// What a user asks for (`--io`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// The first that the system has: `uring-direct`, `uring`, epoll.
    #[default]
    Auto,
    /// `io_uring` on tokio-uring, or nothing.
    Uring,
    /// `io_uring` driven by the hub itself, or nothing. From Linux 6.1.
    UringDirect,
    /// epoll.
    Epoll,
}

impl FromStr for IoChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "uring" => Ok(Self::Uring),
            "uring-direct" => Ok(Self::UringDirect),
            "epoll" => Ok(Self::Epoll),
            _ => Err("expected auto, uring-direct, uring or epoll".to_owned()),
        }
    }
}

impl fmt::Display for IoChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::UringDirect => "uring-direct",
            Self::Epoll => "epoll",
        })
    }
}

/// An engine that works here.
#[derive(Debug)]
pub struct Chosen {
    /// The engine.
    pub engine: Engine,
    /// Why it is not the one that was wanted first.
    pub refusal: Option<Refusal>,
}

/// Finds the engine to use, by making its ring and dropping it again.
pub fn choose(choice: IoChoice) -> Result<Chosen, Refusal> {
    let found = |engine, refusal| Ok(Chosen { engine, refusal });
    match choice {
        IoChoice::Epoll => found(Engine::Epoll, None),
        IoChoice::UringDirect => {
            direct::probe()?;
            found(Engine::UringDirect, None)
        }
        IoChoice::Uring => {
            uring::probe()?;
            found(Engine::Uring, None)
        }
        IoChoice::Auto => {
            let Err(old) = direct::probe() else {
                return found(Engine::UringDirect, None);
            };
            match uring::probe() {
                Ok(()) => found(Engine::Uring, Some(old)),
                Err(refusal) => found(Engine::Epoll, Some(refusal)),
            }
        }
    }
}

/// Why a thread cannot run on its engine.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No ring.
    #[error(transparent)]
    Uring(#[from] Refusal),
    /// No epoll.
    #[error("cannot create a runtime on epoll: {0}")]
    Epoll(#[source] io::Error),
    /// The engine, or the future itself, panicked.
    #[error("the {0} engine panicked")]
    Panicked(Engine),
}

/// Runs a future, and the local tasks that it spawns, on this thread until it
/// is done. A panic is returned as an error: an engine panics where the kernel
/// refuses `io_uring_enter(2)`, as it may for want of memory.
pub fn run<F: Future>(engine: Engine, future: F) -> Result<F::Output, RunError> {
    let caught = |run: &mut dyn FnMut() -> F::Output| {
        // Nothing of what the future knew is looked at again.
        catch_unwind(AssertUnwindSafe(run)).map_err(|_| RunError::Panicked(engine))
    };
    let mut future = Some(future);
    let mut take = || future.take().expect("it runs once");
    match engine {
        Engine::Uring => {
            let runtime = ManuallyDrop::new(uring::runtime()?);
            let output = caught(&mut || runtime.block_on(take()))?;
            // Only a ring that works may be taken apart: that waits for its operations.
            drop(ManuallyDrop::into_inner(runtime));
            Ok(output)
        }
        Engine::UringDirect => {
            let mut output = None;
            let run = || output = Some(direct::run(take()));
            catch_unwind(AssertUnwindSafe(run)).map_err(|_| RunError::Panicked(engine))?;
            output
                .expect("it has run")
                .map_err(|failure| match failure {
                    direct::Failure::Ring(refusal) => RunError::Uring(refusal),
                    direct::Failure::Runtime(error) => RunError::Epoll(error),
                })
        }
        Engine::Epoll => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(RunError::Epoll)?;
            let tasks = LocalSet::new();
            caught(&mut || runtime.block_on(tasks.run_until(take())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_is_what_they_read() {
        for choice in [
            IoChoice::Auto,
            IoChoice::Uring,
            IoChoice::UringDirect,
            IoChoice::Epoll,
        ] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("io_uring".parse::<IoChoice>().is_err());
    }

    #[test]
    fn epoll_is_had_for_the_asking_and_auto_never_fails() {
        assert_eq!(choose(IoChoice::Epoll).unwrap().engine, Engine::Epoll);
        let auto = choose(IoChoice::Auto).unwrap();
        assert_eq!(auto.engine == Engine::UringDirect, auto.refusal.is_none());
    }
}
