//! Making, sealing and mapping the two memfds of a session (`memfd_create(2)`,
//! `F_ADD_SEALS` in fcntl(2), mmap(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::geometry::Geometry;
use crate::layout::{LAYOUT_VERSION, MAGIC, RegionHeader};
use crate::memory::{Mapping, OwnRegion, PeerRegion};

/// What the hub holds of a session's memory.
#[derive(Debug)]
pub struct HubRegions {
    /// Requests: written here.
    pub requests: OwnRegion,
    /// Responses: written by the worker.
    pub responses: PeerRegion,
    /// To be passed to the worker, in this order; then they can be closed here.
    pub fds: Option<[OwnedFd; 2]>,
}

/// What the worker holds of a session's memory.
#[derive(Debug)]
pub struct WorkerRegions {
    /// Requests: written by the hub.
    pub requests: PeerRegion,
    /// Responses: written here.
    pub responses: OwnRegion,
}

/// Why a region that came over the attach socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// A system call failed.
    #[error("{0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The header is not what the welcome message said.
    #[error("the {region} region's header is {seen:?}, expected {expected:?}")]
    Header {
        /// `requests` or `responses`.
        region: &'static str,
        /// What the region says.
        seen: Box<RegionHeader>,
        /// What the welcome message implies.
        expected: Box<RegionHeader>,
    },
    /// The file is not as large as its geometry needs.
    #[error("the {region} region has {seen} bytes, expected {expected}")]
    Size {
        /// `requests` or `responses`.
        region: &'static str,
        /// Size of the file.
        seen: u64,
        /// Size the geometry needs.
        expected: u64,
    },
    /// The region may still change its size under the map.
    #[error("the {region} region is not sealed against shrinking")]
    NotSealed {
        /// `requests` or `responses`.
        region: &'static str,
    },
}

fn system(call: &'static str) -> impl Fn(rustix::io::Errno) -> RegionError {
    move |errno| RegionError::System(call, errno.into())
}

impl HubRegions {
    /// Makes both regions. `label` shows in `/proc/PID/maps` and nowhere else:
    /// a memfd has no name in any file system.
    ///
    /// Seals: neither can change its size any more, and nobody but the map made
    /// here can ever write the requests.
    pub fn create(label: &str, geometry: &Geometry) -> Result<Self, RegionError> {
        let size_seals = SealFlags::SHRINK | SealFlags::GROW;

        let requests_fd = new_memfd(label, geometry.requests_bytes())?;
        let requests = OwnRegion(map(requests_fd.as_fd(), geometry.requests_bytes(), true)?);
        requests.write_head(0, &geometry.header(geometry.requests_bytes()));
        // FUTURE_WRITE after the writable map exists: that one stays, and no
        // second one can be made.
        rustix::fs::fcntl_add_seals(
            &requests_fd,
            size_seals | SealFlags::FUTURE_WRITE | SealFlags::SEAL,
        )
        .map_err(system("sealing the requests region"))?;

        let responses_fd = new_memfd(label, geometry.responses_bytes())?;
        let header = geometry.header(geometry.responses_bytes());
        // The worker is the writer of this region from its first byte on, but
        // does not exist yet; write(2) keeps the hub without a writable map.
        rustix::io::pwrite(&responses_fd, bytemuck::bytes_of(&header), 0)
            .map_err(system("writing the responses header"))?;
        let responses = PeerRegion(map(
            responses_fd.as_fd(),
            geometry.responses_bytes(),
            false,
        )?);
        rustix::fs::fcntl_add_seals(&responses_fd, size_seals | SealFlags::SEAL)
            .map_err(system("sealing the responses region"))?;

        Ok(Self {
            requests,
            responses,
            fds: Some([requests_fd, responses_fd]),
        })
    }
}

impl WorkerRegions {
    /// Maps what came over the attach socket, after checking that it is what
    /// the welcome message said.
    pub fn map(fds: &[OwnedFd; 2], geometry: &Geometry) -> Result<Self, RegionError> {
        let [requests_fd, responses_fd] = fds;
        check_file("requests", requests_fd.as_fd(), geometry.requests_bytes())?;
        check_file(
            "responses",
            responses_fd.as_fd(),
            geometry.responses_bytes(),
        )?;
        let requests = PeerRegion(map(requests_fd.as_fd(), geometry.requests_bytes(), false)?);
        let responses = OwnRegion(map(responses_fd.as_fd(), geometry.responses_bytes(), true)?);
        check_header(
            "requests",
            &requests,
            geometry.header(geometry.requests_bytes()),
        )?;
        check_header(
            "responses",
            &PeerRegion(Arc::clone(&responses.0)),
            geometry.header(geometry.responses_bytes()),
        )?;
        Ok(Self {
            requests,
            responses,
        })
    }
}

fn new_memfd(label: &str, bytes: u64) -> Result<OwnedFd, RegionError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // NOEXEC_SEAL came with Linux 6.3; older kernels answer EINVAL.
    let fd = rustix::fs::memfd_create(label, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(label, flags))
        .map_err(system("memfd_create"))?;
    rustix::fs::ftruncate(&fd, bytes).map_err(system("sizing a region"))?;
    Ok(fd)
}

fn map(fd: BorrowedFd<'_>, bytes: u64, writable: bool) -> Result<Arc<Mapping>, RegionError> {
    let protection = if writable {
        ProtFlags::READ | ProtFlags::WRITE
    } else {
        ProtFlags::READ
    };
    let length = bytes as usize;
    // SAFETY: a fresh mapping at an address the kernel picks; nothing in this
    // process can have pointers into it. rustix cannot know what is done with
    // the memory, so there is no safe form of this call.
    let start = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            MapFlags::SHARED,
            fd,
            0,
        )
    }
    .map_err(system("mmap"))?;
    let start = NonNull::new(start.cast::<u8>()).expect("mmap without MAP_FIXED is never null");
    // SAFETY: page-aligned, `length` bytes, mapped until `unmap`; the file is
    // sealed against shrinking (checked by the worker, done by the hub), so
    // pages cannot vanish from under the map.
    Ok(Arc::new(unsafe { Mapping::new(start, length, unmap) }))
}

fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: called once, by the drop of the mapping that `map` made with
    // this start and length; borrows of it have ended by then.
    let result = unsafe { rustix::mm::munmap(start.as_ptr().cast(), bytes) };
    debug_assert!(result.is_ok(), "munmap of a mapping we made: {result:?}");
}

fn check_file(region: &'static str, fd: BorrowedFd<'_>, expected: u64) -> Result<(), RegionError> {
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(system("reading a region's seals"))?;
    if !seals.contains(SealFlags::SHRINK) {
        return Err(RegionError::NotSealed { region });
    }
    let stat = rustix::fs::fstat(fd).map_err(system("fstat of a region"))?;
    let seen = stat.st_size.cast_unsigned();
    if seen == expected {
        Ok(())
    } else {
        Err(RegionError::Size {
            region,
            seen,
            expected,
        })
    }
}

fn check_header(
    region: &'static str,
    memory: &PeerRegion,
    expected: RegionHeader,
) -> Result<(), RegionError> {
    let seen: RegionHeader = memory.copy_head(0);
    debug_assert!(expected.magic == MAGIC && expected.layout_version == LAYOUT_VERSION);
    if seen == expected {
        Ok(())
    } else {
        Err(RegionError::Header {
            region,
            seen: Box::new(seen),
            expected: Box::new(expected),
        })
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::atomic::Ordering;
    use rustix::io::Errno;

    fn regions() -> (Geometry, HubRegions, WorkerRegions) {
        let geometry = Geometry::new(2, 4, 64 * 1024).unwrap();
        let hub = HubRegions::create("slotway-test", &geometry).unwrap();
        let worker = WorkerRegions::map(hub.fds.as_ref().unwrap(), &geometry).unwrap();
        (geometry, hub, worker)
    }

    #[test]
    fn what_one_side_writes_the_other_reads() {
        let (geometry, hub, worker) = regions();
        let lane = geometry.lane(1);
        hub.requests
            .u32_at(lane.submission_tail)
            .store(5, Ordering::Release);
        assert_eq!(
            worker
                .requests
                .u32_at(lane.submission_tail)
                .load(Ordering::Acquire),
            5
        );
        let slot = geometry.slot(&lane, 3);
        worker.responses.write(slot.response_arena, b"response");
        let mut out = Vec::new();
        hub.responses.append_to(slot.response_arena, 8, &mut out);
        assert_eq!(out, b"response");
    }

    #[test]
    fn a_worker_cannot_write_the_requests_nor_resize_either_region() {
        let (geometry, hub, _worker) = regions();
        let [requests, responses] = hub.fds.as_ref().unwrap();
        assert!(map(requests.as_fd(), geometry.requests_bytes(), true).is_err());
        assert_eq!(rustix::io::pwrite(requests, b"x", 0), Err(Errno::PERM));
        for fd in [requests, responses] {
            assert_eq!(rustix::fs::ftruncate(fd, 0), Err(Errno::PERM));
            assert_eq!(rustix::fs::ftruncate(fd, 1 << 30), Err(Errno::PERM));
            assert_eq!(
                rustix::fs::fcntl_add_seals(fd, SealFlags::WRITE),
                Err(Errno::PERM)
            );
        }
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert_eq!(
            rustix::fs::fallocate(requests, punch, 0, 4096),
            Err(Errno::PERM)
        );
    }

    #[test]
    fn a_hole_punched_into_the_responses_reads_as_zeros_and_raises_no_signal() {
        let (geometry, hub, worker) = regions();
        let slot = geometry.slot(&geometry.lane(0), 0);
        worker.responses.write(slot.response_arena, b"gone");
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(
            &hub.fds.as_ref().unwrap()[1],
            punch,
            0,
            geometry.responses_bytes(),
        )
        .unwrap();
        let mut out = Vec::new();
        hub.responses.append_to(slot.response_arena, 4, &mut out);
        assert_eq!(out, [0; 4]);
    }

    #[test]
    fn a_region_of_another_geometry_or_unsealed_is_refused() {
        let (_, hub, _) = regions();
        let other = Geometry::new(2, 5, 64 * 1024).unwrap();
        assert!(matches!(
            WorkerRegions::map(hub.fds.as_ref().unwrap(), &other),
            Err(RegionError::Size {
                region: "requests",
                ..
            })
        ));

        let geometry = Geometry::new(2, 4, 64 * 1024).unwrap();
        let loose = new_memfd("loose", geometry.requests_bytes()).unwrap();
        let fds = [loose, hub.fds.as_ref().unwrap()[1].try_clone().unwrap()];
        assert!(matches!(
            WorkerRegions::map(&fds, &geometry),
            Err(RegionError::NotSealed { region: "requests" })
        ));
    }
}
