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

/// Pinned memory, and an event for each stream that copies out of it or into it.
struct Part {
    memory: *mut u8,
    events: [sys::CUevent; 2],
    used: usize,
}

// SAFETY: the memory is this part's alone, and an event a name that the driver takes in any thread.
unsafe impl Send for Part {}

impl Part {
    fn new() -> Result<Part, Error> {
        // SAFETY: freed in `Staging::drop`.
        let memory = unsafe { result::malloc_host(PART_BYTES, 0) }.map_err(|e| failed("pinned memory", e))?;
        let event = || {
            let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
            result::event::create(flags).map_err(|e| failed("an event", e))
        };
        Ok(Part { memory: memory.cast(), events: [event()?, event()?], used: 0 })
    }

    /// Waits until the copies before the events are done; an event that was never recorded is.
    fn wait(&self) -> Result<(), Error> {
        self.events.iter().try_for_each(|event| {
            // SAFETY: the events live as long as the part.
            unsafe { result::event::synchronize(*event) }.map_err(|e| failed("waiting for a copy", e))
        })
    }

    /// Behind the copies on these streams.
    fn record(&self, streams: &[sys::CUstream]) -> Result<(), Error> {
        self.events.iter().zip(streams).try_for_each(|(event, stream)| {
            // SAFETY: event and stream live, in the same context.
            unsafe { result::event::record(*event, *stream) }.map_err(|e| failed("an event", e))
        })
    }
}

impl Staging {
    /// The context is current.
    pub fn new(inner: Arc<Inner>) -> Result<Staging, Error> {
        let up = [Part::new()?, Part::new()?];
        let down = [Part::new()?, Part::new()?];
        Ok(Staging { inner, up, down, now: 0 })
    }

    /// Copies bytes to an address, on the main stream or the one beside; they may change as soon as this returns.
    pub fn upload(
        &mut self,
        stream: sys::CUstream,
        mut to: sys::CUdeviceptr,
        mut bytes: &[u8],
    ) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.up[self.now].used == PART_BYTES {
                let streams = &self.inner.streams;
                self.up[self.now].record(&[streams.main, streams.beside])?;
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
            unsafe { result::memcpy_htod_async(to, staged, stream) }.map_err(|e| failed("uploading", e))?;
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
            part.record(&[staging.inner.streams.main])
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
            // SAFETY: nothing is under way, and all are this part's own.
            let _ = unsafe {
                let [first, second] = part.events.map(|event| result::event::destroy(event));
                first.and(second).and_then(|()| result::free_host(part.memory.cast()))
            };
        }
    }
}
