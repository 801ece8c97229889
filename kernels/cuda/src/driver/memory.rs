//! Memory of a device: the driver's pool, or free lists of our own where it has none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cudarc::driver::{CudaContext, result, sys};

use super::{Inner, failed, lock};
use crate::Error;

/// Sizes are rounded up to a multiple of this: what the driver aligns to.
const GRANULE: usize = 256;

/// Where memory comes from.
pub(super) enum Pool {
    /// The driver's, which keeps what is freed until something else wants it.
    Driver(sys::CUmemoryPool),
    /// By size: addresses that nothing holds. As all work is on one stream, whoever gets one of them works after
    /// whoever had it.
    Lists(Mutex<BTreeMap<usize, Vec<sys::CUdeviceptr>>>),
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

    fn take(&self, stream: sys::CUstream, bytes: usize) -> Result<sys::CUdeviceptr, result::DriverError> {
        match self {
            // SAFETY: the stream lives; contents are undefined, and nobody reads them before writing.
            Pool::Driver(_) => unsafe { result::malloc_async(stream, bytes) },
            Pool::Lists(lists) => match lock(lists).get_mut(&bytes).and_then(Vec::pop) {
                Some(address) => Ok(address),
                // SAFETY: as above.
                None => unsafe { result::malloc_sync(bytes) },
            },
        }
    }

    fn give_back(&self, stream: sys::CUstream, address: sys::CUdeviceptr, bytes: usize) {
        match self {
            Pool::Driver(_) => {
                // SAFETY: the address came from `take` and is given back once; what was launched on it goes first on
                // the stream. An error here is one that the stream already has, and the next call says so.
                let _ = unsafe { result::free_async(address, stream) };
            }
            Pool::Lists(lists) => lock(lists).entry(bytes).or_default().push(address),
        }
    }

    /// Gives the driver back what nothing holds. The stream must have nothing to do.
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
    owner: Arc<Inner>,
}

impl Buffer {
    pub(super) fn new(owner: &Arc<Inner>, bytes: usize) -> Result<Buffer, Error> {
        let full = |free| Error::OutOfMemory { wanted: bytes, free };
        let taken = bytes.max(1).checked_next_multiple_of(GRANULE).ok_or(full(0))?;
        let address = match owner.memory.take(owner.stream, taken) {
            Err(error) if is_full(&error) => {
                // What is kept for later goes back first.
                owner.synchronize()?;
                owner.memory.free_all();
                owner.memory.take(owner.stream, taken)
            }
            result => result,
        };
        match address {
            Ok(address) => Ok(Buffer { address, bytes, taken, owner: owner.clone() }),
            Err(error) if is_full(&error) => Err(full(result::mem_get_info().map_or(0, |(free, _)| free))),
            Err(error) => Err(failed("memory", error)),
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
        if self.owner.bind().is_ok() {
            self.owner.memory.give_back(self.owner.stream, self.address, self.taken);
        }
    }
}

fn is_full(error: &result::DriverError) -> bool {
    error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY
}
