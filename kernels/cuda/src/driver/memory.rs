//! Memory of a device: the driver's pool, or free lists of our own where it has none.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cudarc::driver::{CudaContext, result, sys};

use super::streams::{Piece, Turn};
use super::{Inner, failed, lock};
use crate::Error;
use crate::ledger::Dropped;

/// Sizes are rounded up to a multiple of this: what the driver aligns to.
const GRANULE: usize = 256;

/// Where memory comes from.
pub(super) enum Pool {
    /// The driver's, which keeps what is freed until something else wants it.
    Driver(sys::CUmemoryPool),
    /// By stream (beside or not) and size: addresses that nothing holds. Whoever gets one of them works after whoever had
    /// it, on the same stream.
    Lists(Mutex<BTreeMap<(bool, usize), Vec<sys::CUdeviceptr>>>),
}

impl Pool {
    pub fn new(context: &CudaContext, index: usize) -> Result<Pool, Error> {
        if !context.has_async_alloc() {
            return Ok(Pool::Lists(Mutex::default()));
        }
        let device = result::device::get(index as i32).map_err(|e| failed("the device", e))?;
        let mut keep = u64::MAX;
        // SAFETY: the device was given by the driver, the attribute is a number of 64 bits.
        let pool = unsafe {
            result::device::get_default_mem_pool(device).and_then(|pool| {
                let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
                result::mem_pool::set_attribute(pool, attribute, std::ptr::from_mut(&mut keep).cast())?;
                Ok(pool)
            })
        };
        Ok(Pool::Driver(pool.map_err(|e| failed("the memory pool", e))?))
    }

    fn take(
        &self,
        stream: sys::CUstream,
        beside: bool,
        bytes: usize,
    ) -> Result<sys::CUdeviceptr, result::DriverError> {
        match self {
            // SAFETY: the stream lives; contents are undefined, and nobody reads them before writing.
            Pool::Driver(_) => unsafe { result::malloc_async(stream, bytes) },
            Pool::Lists(lists) => match lock(lists).get_mut(&(beside, bytes)).and_then(Vec::pop) {
                Some(address) => Ok(address),
                // SAFETY: as above.
                None => unsafe { result::malloc_sync(bytes) },
            },
        }
    }

    pub fn give_back(&self, stream: sys::CUstream, beside: bool, (address, bytes): Piece) {
        match self {
            Pool::Driver(_) => {
                // SAFETY: the address came from `take` and is given back once; what was launched on it goes first on
                // the stream. An error here is one that the stream already has, and the next call says so.
                let _ = unsafe { result::free_async(address, stream) };
            }
            Pool::Lists(lists) => lock(lists).entry((beside, bytes)).or_default().push(address),
        }
    }

    /// Gives the driver back what nothing holds. The streams must have nothing to do.
    pub fn free_all(&self) {
        match self {
            // SAFETY: the pool is the device's own.
            Pool::Driver(pool) => drop(unsafe { result::mem_pool::trim_to(*pool, 0) }),
            Pool::Lists(lists) => {
                for address in std::mem::take(&mut *lock(lists)).into_values().flatten() {
                    // SAFETY: nothing holds it, and it is taken off the list.
                    let _ = unsafe { result::free_sync(address) };
                }
            }
        }
    }
}

/// Memory on the device.
pub struct Buffer {
    address: sys::CUdeviceptr,
    bytes: usize,
    /// What was taken for it.
    taken: usize,
    /// The number of the last work beside that was given it.
    beside: AtomicU64,
    owner: Arc<Inner>,
}

impl Buffer {
    /// The context is current.
    pub(super) fn new(owner: &Arc<Inner>, bytes: usize) -> Result<Buffer, Error> {
        let full = |free| Error::OutOfMemory { wanted: bytes, free };
        let taken = bytes.max(1).checked_next_multiple_of(GRANULE).ok_or(full(0))?;
        let mut turn = owner.streams.turn();
        let (beside, is_recorded) = (turn.is_beside, turn.ledger.is_open());
        let of = |address, turn: &Turn| {
            let beside = AtomicU64::new(0);
            let buffer = Buffer { address, bytes, taken, beside, owner: owner.clone() };
            buffer.used(turn);
            buffer
        };
        if let Some((address, _)) = turn.ledger.take(taken, beside) {
            return Ok(of(address, &turn));
        }
        // What is recorded takes no memory itself.
        let stream = if is_recorded { owner.streams.aside } else { owner.streams.of(&turn) };
        let address = match owner.memory.take(stream, beside, taken) {
            Err(error) if is_full(&error) && !is_recorded => {
                // What is kept for later goes back first.
                owner.synchronize()?;
                owner.memory.free_all();
                owner.memory.take(stream, beside, taken)
            }
            result => result,
        };
        let address = match address {
            Ok(address) => address,
            Err(error) if is_full(&error) => {
                return Err(full(result::mem_get_info().map_or(0, |(free, _)| free)));
            }
            Err(error) => return Err(failed("memory", error)),
        };
        turn.ledger.add((address, taken), Some(taken));
        let buffer = of(address, &turn);
        drop(turn);
        if is_recorded {
            // SAFETY: the stream lives as long as the owner.
            unsafe { result::stream::synchronize(stream) }.map_err(|e| failed("waiting", e))?;
        }
        Ok(buffer)
    }

    /// Memory with these contents, while something is recorded: it is there at once.
    pub(super) fn with(owner: &Arc<Inner>, bytes: &[u8]) -> Result<Buffer, Error> {
        let full = |free| Error::OutOfMemory { wanted: bytes.len(), free };
        let taken = bytes.len().max(1).checked_next_multiple_of(GRANULE).ok_or(full(0))?;
        let mut turn = owner.streams.turn();
        let stream = owner.streams.aside;
        let address = match owner.memory.take(stream, turn.is_beside, taken) {
            Ok(address) => address,
            Err(error) if is_full(&error) => return Err(full(0)),
            Err(error) => return Err(failed("memory", error)),
        };
        turn.ledger.add((address, taken), None);
        let beside = AtomicU64::new(0);
        let buffer = Buffer { address, bytes: bytes.len(), taken, beside, owner: owner.clone() };
        buffer.used(&turn);
        drop(turn);
        // SAFETY: the memory has as many bytes, which live until they have arrived.
        unsafe {
            result::memcpy_htod_async(address, bytes, stream)
                .and_then(|()| result::stream::synchronize(stream))
        }
        .map_err(|e| failed("uploading", e))?;
        Ok(buffer)
    }

    /// Remembers that work is given the buffer.
    pub(super) fn used(&self, turn: &Turn) {
        if turn.is_beside {
            self.beside.store(turn.besides, Ordering::Relaxed);
        }
    }

    pub(super) fn address(&self) -> sys::CUdeviceptr {
        self.address
    }

    /// The address of a range, if the buffer has it.
    pub(super) fn range(&self, offset: usize, bytes: usize) -> Result<sys::CUdeviceptr, Error> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(self.address + offset as u64),
            _ => Err(Error::Launch {
                kernel: "a copy".to_string(),
                what: format!("{bytes} bytes at {offset} of a buffer of {}", self.bytes),
            }),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.owner.bind().is_err() {
            return;
        }
        let piece = (self.address, self.taken);
        let streams = &self.owner.streams;
        let mut turn = streams.turn();
        let beside = turn.is_beside;
        let is_idle = beside || turn.is_joined();
        if turn.ledger.drop(piece, beside, is_idle) != Dropped::Free {
            return;
        }
        if turn.ledger.is_open() {
            turn.late.push(piece);
            return;
        }
        // Where work beside may still use it, whoever gets the memory next waits for that, too. Without this order the memory is
        // given up for good.
        if !beside && *self.beside.get_mut() > turn.joined && streams.join(&mut turn).is_err() {
            return;
        }
        self.owner.memory.give_back(streams.of(&turn), beside, piece);
    }
}

fn is_full(error: &result::DriverError) -> bool {
    error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
}
