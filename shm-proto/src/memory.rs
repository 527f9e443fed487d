//! Bounded access to mapped memory: the one place where bytes that the other
//! process may be writing are touched.
//!
//! [`OwnRegion`] is written by this process, [`PeerRegion`] by the other one
//! and mapped read-only here. Neither hands out references to bytes that the
//! other side may write now: words are atomics, heads are copied word by word,
//! byte runs are copied with a raw copy and judged afterwards. Every offset is
//! checked against the mapping; callers have validated what a peer told them
//! before, so a failed check here is a bug and panics.

#![allow(
    clippy::cast_ptr_alignment,
    reason = "alignment is asserted beside each such cast"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

#[cfg(test)]
use bytemuck::Zeroable;
use rustix::io::Errno;

use crate::atomic::{
    AtomicU32, AtomicU64, Ordering, OwnU32, OwnU64, OwnWords, PeerU32, PeerU64, PeerWords,
};
use crate::layout::SharedHead;

/// Memory that is given back on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    release: fn(NonNull<u8>, usize),
}

// SAFETY: the mapping is plain memory valid until drop, and every access goes
// through atomics or raw copies, which any thread may do.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out `&mut` or writes without the callers'
// rule of one writer for every byte.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Takes over `bytes` of memory at `start`.
    ///
    /// # Safety
    /// The memory must be 8-byte aligned, readable (and writable if it becomes
    /// an [`OwnRegion`]) and stay so until `release` is called, once.
    pub(crate) unsafe fn new(
        start: NonNull<u8>,
        bytes: usize,
        release: fn(NonNull<u8>, usize),
    ) -> Self {
        assert!(
            start.as_ptr().cast::<u64>().is_aligned(),
            "mappings start on a page"
        );
        Self {
            start,
            bytes,
            release,
        }
    }

    #[inline]
    fn at(&self, offset: u64, bytes: usize) -> *mut u8 {
        let end = offset.checked_add(bytes as u64);
        assert!(
            end.is_some_and(|end| end <= self.bytes as u64),
            "offset {offset} + {bytes} outside a region of {} bytes",
            self.bytes
        );
        // SAFETY: offset + bytes was just checked to lie in the mapping, so the
        // result is in bounds of the same allocation.
        unsafe { self.start.as_ptr().add(offset as usize) }
    }

    #[inline]
    fn atomic_u32(&self, offset: u64) -> &AtomicU32 {
        let word = self.at(offset, 4).cast::<u32>();
        assert!(word.is_aligned(), "offset {offset} is no multiple of 4");
        // SAFETY: in bounds (`at`), aligned (checked), alive as long as `self`;
        // the word is only ever accessed atomically by either process.
        unsafe { AtomicU32::from_ptr(word) }
    }

    #[inline]
    fn atomic_u64(&self, offset: u64) -> &AtomicU64 {
        let word = self.at(offset, 8).cast::<u64>();
        assert!(word.is_aligned(), "offset {offset} is no multiple of 8");
        // SAFETY: as in `atomic_u32`.
        unsafe { AtomicU64::from_ptr(word) }
    }

    #[inline]
    fn atomic_words(&self, offset: u64, count: usize) -> &[AtomicU64] {
        let first = self.at(offset, count * 8).cast::<AtomicU64>();
        assert!(first.is_aligned(), "offset {offset} is no multiple of 8");
        // SAFETY: `count` words in bounds (`at`), aligned (checked), alive as
        // long as `self`; AtomicU64 has the size of u64 and interior
        // mutability, so a shared slice of them may change under us.
        unsafe { std::slice::from_raw_parts(first, count) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        (self.release)(self.start, self.bytes);
    }
}

/// A region that this process writes and the other only reads. Clones share
/// the mapping.
#[derive(Clone, Debug)]
pub struct OwnRegion(pub(crate) Arc<Mapping>);

impl OwnRegion {
    /// The u32 at `offset`.
    #[inline]
    pub fn u32_at(&self, offset: u64) -> OwnU32<'_> {
        OwnU32::new(self.0.atomic_u32(offset))
    }

    /// The u64 at `offset`.
    #[inline]
    pub fn u64_at(&self, offset: u64) -> OwnU64<'_> {
        OwnU64::new(self.0.atomic_u64(offset))
    }

    /// `count` u64 from `offset` on.
    #[inline]
    pub fn words_at(&self, offset: u64, count: usize) -> OwnWords<'_> {
        OwnWords::new(self.0.atomic_words(offset, count))
    }

    /// Copies `bytes` to `offset`. The caller is the only writer of the place; if it is
    /// not, some mixture of bytes stands there, and nothing worse happens.
    #[inline]
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let mut target = self.0.at(offset, bytes.len());
        let to_word = target.align_offset(8).min(bytes.len());
        let (head, rest) = bytes.split_at(to_word);
        let (words, tail) = rest.as_chunks::<8>();
        // SAFETY: all of `bytes.len()` bytes from `target` are in bounds (`at`) and alive
        // as long as `self`. Each is stored to once, atomically, as others may do at the
        // same time; the words are aligned, since `head` ends where the first one begins.
        // A plain copy would be a data race if another thread wrote the same place.
        unsafe {
            for byte in head {
                AtomicU8::from_ptr(target).store(*byte, Ordering::Relaxed);
                target = target.add(1);
            }
            for word in words {
                let value = u64::from_ne_bytes(*word);
                AtomicU64::from_ptr(target.cast()).store(value, Ordering::Relaxed);
                target = target.add(8);
            }
            for byte in tail {
                AtomicU8::from_ptr(target).store(*byte, Ordering::Relaxed);
                target = target.add(1);
            }
        }
    }

    /// Receives what waits in a socket, at most `bytes` of it, to `offset`
    /// (recv(2) with `MSG_DONTWAIT`), without a copy in this process. Returns how
    /// much that was: 0 is the end of the stream. The caller is the only writer
    /// of the place.
    pub fn receive(
        &self,
        socket: BorrowedFd<'_>,
        offset: u64,
        bytes: usize,
    ) -> Result<usize, Errno> {
        let target = self.0.at(offset, bytes);
        // SAFETY: the target is in bounds (`at`) of a mapping that `self` keeps
        // for as long as the call, and no `&[u8]` into a region that this process
        // writes exists. That is why no safe wrapper will do: they want a slice.
        let received =
            unsafe { libc::recv(socket.as_raw_fd(), target.cast(), bytes, libc::MSG_DONTWAIT) };
        count_or_errno(received)
    }

    /// Like [`PeerRegion::send`].
    pub fn send(
        &self,
        socket: BorrowedFd<'_>,
        head: &[u8],
        offset: u64,
        bytes: usize,
    ) -> Result<usize, Errno> {
        send(&self.0, socket, head, offset, bytes)
    }

    /// Copies a head to `offset`.
    #[inline]
    pub fn write_head<T: SharedHead>(&self, offset: u64, head: &T) {
        self.write(offset, bytemuck::bytes_of(head));
    }

    /// Copies bytes that this process has written before back out, behind the
    /// end of `out`.
    pub fn append_to(&self, offset: u64, bytes: usize, out: &mut Vec<u8>) {
        let source = self.0.at(offset, bytes);
        out.extend((0..bytes).map(|index| {
            // SAFETY: in bounds (`at`) of a mapping that `self` keeps, and a byte is
            // always aligned. Atomic, since another thread of this process may write
            // the same place: a plain copy would be a data race then.
            unsafe { AtomicU8::from_ptr(source.add(index)).load(Ordering::Relaxed) }
        }));
    }
}

/// A region that the other process writes; mapped read-only here. Clones share
/// the mapping.
#[derive(Clone, Debug)]
pub struct PeerRegion(pub(crate) Arc<Mapping>);

impl PeerRegion {
    /// The u32 at `offset`.
    #[inline]
    pub fn u32_at(&self, offset: u64) -> PeerU32<'_> {
        PeerU32::new(self.0.atomic_u32(offset))
    }

    /// The u64 at `offset`.
    #[inline]
    pub fn u64_at(&self, offset: u64) -> PeerU64<'_> {
        PeerU64::new(self.0.atomic_u64(offset))
    }

    /// `count` u64 from `offset` on.
    #[inline]
    pub fn words_at(&self, offset: u64, count: usize) -> PeerWords<'_> {
        PeerWords::new(self.0.atomic_words(offset, count))
    }

    /// Copies a head out, each word loaded once. What comes back is private to
    /// the caller and cannot change between check and use.
    #[inline]
    pub fn copy_head<T: SharedHead>(&self, offset: u64) -> T {
        const { assert!(size_of::<T>().is_multiple_of(8), "heads are whole words") };
        const { assert!(align_of::<T>() <= 8) };
        let words = self.0.atomic_words(offset, size_of::<T>() / 8);
        let mut head = MaybeUninit::<T>::uninit();
        for (index, word) in words.iter().enumerate() {
            let value = word.load(Ordering::Relaxed);
            // SAFETY: index < size_of::<T>() / 8, so the word lies in `head`,
            // which is aligned to at most 8; unaligned writes need no more.
            unsafe {
                head.as_mut_ptr()
                    .cast::<u64>()
                    .add(index)
                    .write_unaligned(value);
            }
        }
        // SAFETY: all bytes were just written, and T accepts any bit pattern.
        unsafe { head.assume_init() }
    }

    /// Copies `bytes` from `offset` behind the end of `out`.
    #[inline]
    pub fn append_to(&self, offset: u64, bytes: usize, out: &mut Vec<u8>) {
        append(&self.0, offset, bytes, out);
    }

    /// Sends `head` and then `bytes` from `offset` to a socket, as much as it takes
    /// at once (sendmsg(2) with `MSG_DONTWAIT`), without a copy in this process.
    /// Returns how much that was.
    pub fn send(
        &self,
        socket: BorrowedFd<'_>,
        head: &[u8],
        offset: u64,
        bytes: usize,
    ) -> Result<usize, Errno> {
        send(&self.0, socket, head, offset, bytes)
    }

    /// The bytes themselves, without a copy.
    ///
    /// # Safety
    /// The other process must not write them while the slice lives. A worker
    /// may say so of a request it has not answered yet; a hub may never.
    #[inline]
    pub unsafe fn in_place(&self, offset: u64, bytes: usize) -> &[u8] {
        let start = self.0.at(offset, bytes);
        // SAFETY: in bounds (`at`) and alive as long as `self`; unchanged as
        // the caller promises.
        unsafe { std::slice::from_raw_parts(start, bytes) }
    }
}

fn send(
    mapping: &Mapping,
    socket: BorrowedFd<'_>,
    head: &[u8],
    offset: u64,
    bytes: usize,
) -> Result<usize, Errno> {
    let mut parts = [
        libc::iovec {
            iov_base: head.as_ptr().cast_mut().cast(),
            iov_len: head.len(),
        },
        libc::iovec {
            iov_base: mapping.at(offset, bytes).cast(),
            iov_len: bytes,
        },
    ];
    // SAFETY: an all-zero msghdr is one without address and ancillary data.
    // Both parts are readable for as long as the call: `head` is borrowed,
    // the other is in bounds (`at`) of a mapping that the caller keeps. sendmsg
    // only reads them. Another process may write the second meanwhile:
    // then some mixture is sent, which is its own response's body; no Rust
    // reference to those bytes is made, which is what safe wrappers of the
    // call would need.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        libc::sendmsg(socket.as_raw_fd(), &raw const message, flags)
    };
    count_or_errno(sent)
}

/// What a call that counts bytes has returned.
fn count_or_errno(returned: isize) -> Result<usize, Errno> {
    usize::try_from(returned).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}

#[inline]
fn append(mapping: &Mapping, offset: u64, bytes: usize, out: &mut Vec<u8>) {
    let source = mapping.at(offset, bytes);
    out.reserve(bytes);
    // SAFETY: the source is in bounds (`at`), the target was just reserved, and
    // a private Vec overlaps no mapping. The other process may write the
    // source meanwhile: then the copy is some mixture of bytes, which callers
    // judge only after the copy; no reference to the source is made.
    unsafe {
        let target = out.as_mut_ptr().add(out.len());
        std::ptr::copy_nonoverlapping(source, target, bytes);
        out.set_len(out.len() + bytes);
    }
}

/// A zeroed region on the heap, seen from both sides: for tests that need no
/// second process, and for Miri.
#[cfg(test)]
pub(crate) fn heap_region(bytes: usize) -> (OwnRegion, PeerRegion) {
    fn release(start: NonNull<u8>, bytes: usize) {
        let words = std::ptr::slice_from_raw_parts_mut(start.as_ptr().cast::<u64>(), bytes / 8);
        // SAFETY: made by `Box::into_raw` below with the same length.
        drop(unsafe { Box::from_raw(words) });
    }
    let words = vec![u64::zeroed(); bytes.div_ceil(8)].into_boxed_slice();
    let bytes = words.len() * 8;
    let start = NonNull::new(Box::into_raw(words).cast::<u8>()).expect("a box is never null");
    // SAFETY: `bytes` of u64-aligned heap memory, given back by `release`.
    let mapping = Arc::new(unsafe { Mapping::new(start, bytes, release) });
    (OwnRegion(Arc::clone(&mapping)), PeerRegion(mapping))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{ResponseHead, Span};

    #[test]
    fn a_head_comes_out_as_it_went_in() {
        let (own, peer) = heap_region(256);
        let head = ResponseHead {
            generation: 3,
            status: 200,
            body_bytes: 7,
            ..Default::default()
        };
        own.write_head(64, &head);
        assert_eq!(peer.copy_head::<ResponseHead>(64), head);
    }

    #[test]
    fn bytes_are_appended_behind_what_the_vec_holds() {
        let (own, peer) = heap_region(64);
        own.write(3, b"slot");
        let mut out = b"a ".to_vec();
        peer.append_to(3, 4, &mut out);
        assert_eq!(out, b"a slot");
        out.clear();
        own.append_to(4, 2, &mut out);
        assert_eq!(out, b"lo");
    }

    #[test]
    fn bytes_in_place_are_those_written() {
        let (own, peer) = heap_region(64);
        own.write(8, b"in place");
        // SAFETY: nobody writes the region any more.
        assert_eq!(unsafe { peer.in_place(8, 8) }, b"in place");
    }

    #[test]
    #[should_panic(expected = "outside a region of 64 bytes")]
    fn a_copy_beyond_the_region_panics_instead_of_reading() {
        let (_, peer) = heap_region(64);
        peer.append_to(60, 5, &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "outside a region")]
    fn an_offset_that_overflows_panics_instead_of_wrapping() {
        let (own, _) = heap_region(64);
        own.write(u64::MAX, &[0; 2]);
    }

    #[test]
    #[should_panic(expected = "no multiple of 8")]
    fn a_word_that_is_not_aligned_panics() {
        let (_, peer) = heap_region(64);
        peer.u64_at(4);
    }

    #[test]
    fn words_are_shared_between_the_two_views() {
        let (own, peer) = heap_region(64);
        own.u32_at(4).store(9, Ordering::Release);
        assert_eq!(peer.u32_at(4).load(Ordering::Acquire), 9);
        own.words_at(8, 2).store(1, 5, Ordering::Release);
        assert_eq!(peer.words_at(8, 2).load(1, Ordering::Acquire), 5);
        assert_eq!(size_of::<Span>(), 8);
    }
}
