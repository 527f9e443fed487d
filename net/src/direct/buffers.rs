//! Buffers that the kernel takes when bytes arrive, so that a connection that waits has none
//! (`io_uring_register_buf_ring(3)`).

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// The one group of buffers of a ring.
pub const GROUP: u16 = 0;
/// Buffers of a ring. A power of two. Those that have arrived in one turn of the thread hold
/// one each; who finds none reads into a buffer of its own.
const COUNT: u16 = 128;
/// Size of each: what one read yields at most. All of them are what one connection can be sent
/// ahead of its reads in a turn, so they are no larger than most heads need.
pub const BUFFER_BYTES: usize = 4 * 1024;

const ENTRY_BYTES: usize = size_of::<BufRingEntry>() * COUNT as usize;
/// The entries come first, in whole pages, and the buffers behind them.
const BUFFERS_OFFSET: usize = ENTRY_BYTES.next_multiple_of(4096);
const MAPPED_BYTES: usize = BUFFERS_OFFSET + BUFFER_BYTES * COUNT as usize;

const _: () = assert!(COUNT.is_power_of_two());

/// The buffers, and the ring by which they are handed to the kernel.
pub struct Buffers {
    /// The beginning of the mapping.
    entries: NonNull<BufRingEntry>,
    /// Entries written so far; wraps around.
    tail: u16,
    /// Else the kernel may still write to them, and they stay mapped.
    is_released: bool,
}

impl Buffers {
    /// Makes them, and hands all of them to the kernel.
    pub fn new(submitter: &Submitter<'_>) -> io::Result<Self> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address of the kernel's choice touches nobody's memory.
        let mapping = unsafe { mmap_anonymous(std::ptr::null_mut(), MAPPED_BYTES, access, flags) }?;
        let entries = NonNull::new(mapping.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut buffers = Self {
            entries,
            tail: 0,
            is_released: true,
        };
        // SAFETY: the entries are the mapping's beginning, page-aligned and zero, and stay
        // mapped until the ring is gone (`Ring::close`).
        unsafe {
            let address = entries.as_ptr() as u64;
            submitter.register_buf_ring_with_flags(address, COUNT, GROUP, 0)?;
        }
        buffers.is_released = false;
        for index in 0..COUNT {
            buffers.give(index);
        }
        Ok(buffers)
    }

    fn start(&self) -> *mut u8 {
        self.entries.as_ptr().cast()
    }

    /// The bytes that the kernel has put into a buffer, which is not its own until
    /// [`Buffers::give`].
    pub fn bytes(&self, index: u16, count: usize) -> &[u8] {
        assert!(index < COUNT && count <= BUFFER_BYTES, "no such buffer");
        let offset = BUFFERS_OFFSET + BUFFER_BYTES * usize::from(index);
        // SAFETY: within the mapping by the assertion, initialized since the mapping was zero,
        // and not written by the kernel before it is given the buffer again, which needs `self`
        // mutably.
        unsafe { std::slice::from_raw_parts(self.start().add(offset), count) }
    }

    /// Hands a buffer (back) to the kernel.
    pub fn give(&mut self, index: u16) {
        assert!(index < COUNT, "no such buffer");
        let offset = BUFFERS_OFFSET + BUFFER_BYTES * usize::from(index);
        let slot = usize::from(self.tail & (COUNT - 1));
        let entries = self.entries.as_ptr();
        // SAFETY: entry and tail lie within the mapping, the latter in the last two bytes of
        // the first entry, which the setters leave alone. The kernel reads an entry only after
        // it has seen the tail beyond it, and gave this one up when it took its buffer: there
        // are as many entries as buffers.
        unsafe {
            let entry = &mut *entries.add(slot);
            entry.set_addr(self.start().add(offset) as u64);
            entry.set_len(BUFFER_BYTES as u32);
            entry.set_bid(index);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// Lets the mapping go with `self`: the kernel has no buffer any more, nor the entries.
    pub fn release(&mut self) {
        self.is_released = true;
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.is_released {
            // SAFETY: nobody has a reference into the mapping, since `self` is had mutably, and
            // the kernel is through with it. Fails only for what is no mapping.
            let _ = unsafe { munmap(self.entries.as_ptr().cast(), MAPPED_BYTES) };
        }
    }
}
