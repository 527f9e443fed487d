//! What the system says of this process, by the names that Prometheus clients use.

use procfs::process::Process;

/// The hub's process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessUse {
    /// Processor time so far, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Virtual memory, in bytes.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// The most there may be.
    pub max_fds: u64,
    /// Threads.
    pub threads: u64,
}

impl ProcessUse {
    /// Reads it; `None` where there is no `/proc`.
    pub fn read() -> Option<Self> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            open_fds: process.fd_count().unwrap_or_default() as u64,
            max_fds: limit.current.unwrap_or(u64::MAX),
            threads: stat.num_threads.try_into().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_threads_and_descriptors() {
        let own = ProcessUse::read().unwrap();
        assert!(own.resident_bytes > 100_000 && own.virtual_bytes > own.resident_bytes);
        assert!(own.threads >= 1 && own.open_fds >= 1 && own.max_fds >= own.open_fds);
    }
}
