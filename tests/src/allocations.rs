//! Counts what a thread allocates, so that a test can bound memory in bytes.
//!
//! A test program says `#[global_allocator] static ALLOCATOR: Counting = Counting;`.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes allocated and not freed, the most of these since a meter started, and bytes
    /// allocated since ever.
    static COUNTS: Cell<(isize, isize, usize)> = const { Cell::new((0, 0, 0)) };
}

/// The system's allocator, counted for each thread.
pub struct Counting;

fn count(added: usize, freed: usize) {
    let (live, peak, total) = COUNTS.get();
    let live = live + added as isize - freed as isize;
    COUNTS.set((live, peak.max(live), total + added));
}

// SAFETY: every call goes to the system's allocator as it came; the count allocates nothing and has
// no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller's contract is the same.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// What the current thread allocates from now on.
pub struct Meter {
    live: isize,
    total: usize,
}

impl Meter {
    /// Starts at zero.
    pub fn start() -> Meter {
        let (live, _, total) = COUNTS.get();
        COUNTS.set((live, live, total));
        Meter { live, total }
    }

    /// Bytes allocated since the start and not freed; 0 if more was freed.
    pub fn live(&self) -> usize {
        usize::try_from(COUNTS.get().0 - self.live).unwrap_or(0)
    }

    /// The most of these at any moment since the last meter started.
    pub fn peak(&self) -> usize {
        usize::try_from(COUNTS.get().1 - self.live).unwrap_or(0)
    }

    /// Bytes allocated since the start, freed or not: what was copied can be no more.
    pub fn total(&self) -> usize {
        COUNTS.get().2 - self.total
    }
}
