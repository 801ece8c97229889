//! Pinned memory of the host through which bytes go to and from the device.
//!
//! Uploads are copied into it and leave it while the caller goes on; downloads arrive in one half while the other is
//! emptied. Invariant: a part is written again only after the event behind the copies out of it.

use std::sync::Arc;

use cudarc::driver::{result, sys};

use super::{Inner, failed};
use crate::Error;

/// Bytes of one part.
const PART_BYTES: usize = 4 << 20;
/// Parts for uploads, and as many for downloads.
const PARTS: usize = 2;
/// Copies start at multiples of this.
const ALIGN: usize = 256;

pub(super) struct Staging {
    inner: Arc<Inner>,
    up: [Part; PARTS],
    down: [Part; PARTS],
    /// The part that uploads go through now.
    now: usize,
}

/// Pinned memory, and an event.
struct Part {
    memory: *mut u8,
    event: sys::CUevent,
    used: usize,
}

// SAFETY: the memory is this part's alone, and the event a name that the driver takes in any thread.
unsafe impl Send for Part {}

impl Part {
    fn new() -> Result<Part, Error> {
        // SAFETY: freed in `Staging::drop`.
        let memory = unsafe { result::malloc_host(PART_BYTES, 0) }.map_err(|e| failed("pinned memory", e))?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
            .map_err(|e| failed("an event", e))?;
        Ok(Part { memory: memory.cast(), event, used: 0 })
    }

    /// Waits until the copies before the event are done; an event that was never recorded is.
    fn wait(&self) -> Result<(), Error> {
        // SAFETY: the event lives as long as the part.
        unsafe { result::event::synchronize(self.event) }.map_err(|e| failed("waiting for a copy", e))
    }

    fn record(&self, inner: &Inner) -> Result<(), Error> {
        // SAFETY: event and stream live, in the same context.
        unsafe { result::event::record(self.event, inner.streams.main) }.map_err(|e| failed("an event", e))
    }
}

impl Staging {
    /// The context is current.
    pub fn new(inner: Arc<Inner>) -> Result<Staging, Error> {
        let up = [Part::new()?, Part::new()?];
        let down = [Part::new()?, Part::new()?];
        Ok(Staging { inner, up, down, now: 0 })
    }

    /// Copies bytes to an address; they may change as soon as this returns.
    pub fn upload(&mut self, mut to: sys::CUdeviceptr, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.up[self.now].used == PART_BYTES {
                self.up[self.now].record(&self.inner)?;
                self.now = (self.now + 1) % PARTS;
                self.up[self.now].wait()?;
                self.up[self.now].used = 0;
            }
            let part = &mut self.up[self.now];
            let (piece, rest) = bytes.split_at(bytes.len().min(PART_BYTES - part.used));
            // SAFETY: the range lies within the part, and nothing reads it: copies out of this part have been waited
            // for when it was begun, and what was written since lies before `used`.
            let staged = unsafe {
                let staged = std::slice::from_raw_parts_mut(part.memory.add(part.used), piece.len());
                staged.copy_from_slice(piece);
                staged
            };
            // SAFETY: the caller's address has so many bytes; the part is not written before the event behind this.
            unsafe { result::memcpy_htod_async(to, staged, self.inner.streams.main) }
                .map_err(|e| failed("uploading", e))?;
            part.used = (part.used + piece.len()).next_multiple_of(ALIGN).min(PART_BYTES);
            (to, bytes) = (to + piece.len() as u64, rest);
        }
        Ok(())
    }

    /// Copies bytes from an address, after everything that the stream does before.
    pub fn download(&mut self, from: sys::CUdeviceptr, bytes: &mut [u8]) -> Result<(), Error> {
        let pieces: Vec<&mut [u8]> = bytes.chunks_mut(PART_BYTES).collect();
        let ask = |staging: &Staging, at: usize, len: usize| -> Result<(), Error> {
            let part = &staging.down[at % PARTS];
            // SAFETY: the part has so many bytes and was emptied before; the caller's address has them too.
            unsafe {
                let staged = std::slice::from_raw_parts_mut(part.memory, len);
                result::memcpy_dtoh_async(staged, from + (at * PART_BYTES) as u64, staging.inner.streams.main)
            }
            .map_err(|e| failed("downloading", e))?;
            part.record(&staging.inner)
        };
        let lens: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        for (at, len) in lens.iter().enumerate().take(PARTS - 1) {
            ask(self, at, *len)?;
        }
        for (at, piece) in pieces.into_iter().enumerate() {
            if let Some(len) = lens.get(at + PARTS - 1) {
                ask(self, at + PARTS - 1, *len)?;
            }
            let part = &self.down[at % PARTS];
            part.wait()?;
            // SAFETY: the copy into the part is done, and the next one into it is asked for after this.
            piece.copy_from_slice(unsafe { std::slice::from_raw_parts(part.memory, piece.len()) });
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Where the stream cannot be waited for, memory that it may still read is left alone.
        if self.inner.synchronize().is_err() {
            return;
        }
        for part in self.up.iter().chain(&self.down) {
            // SAFETY: nothing is under way, and both are this part's own.
            let _ = unsafe {
                result::event::destroy(part.event).and_then(|()| result::free_host(part.memory.cast()))
            };
        }
    }
}
