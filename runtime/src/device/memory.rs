//! Where values live while a device computes: in its memory, in the host's, or in both.
//!
//! Invariant: a value's copies hold the same bytes. Buffers are taken in turns, as the program's plan says; as a
//! device does what it is given in order, a buffer may be written anew as soon as no value holds it, even though
//! work that reads it may still be under way.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use repops::DType;
use repops::program::{ConstantId, SlotId};
use repops::region::{Region, RegionBackend};
use repops::tensor::AlignedBytes;
use repops_cuda::launch::region::{Prepared, prepare};
use repops_cuda::{Device, Error};

use crate::Regions;
use crate::hashing::DigestSource;

/// Spare buffers kept for reuse.
const SPARES_MAX: usize = 64;

/// Memory on the device.
pub(crate) struct Block<B> {
    pub buffer: B,
    pub capacity: usize,
}

/// A value's bytes.
pub(crate) struct Held<B> {
    pub bytes: usize,
    pub host: OnceLock<Arc<AlignedBytes>>,
    pub device: OnceLock<Arc<Block<B>>>,
    /// Known without the data: it follows from shapes and constants alone.
    pub is_size: bool,
}

impl<B> Held<B> {
    pub fn on_host(bytes: AlignedBytes, is_size: bool) -> Held<B> {
        let len = bytes.as_slice().len();
        let host = OnceLock::from(Arc::new(bytes));
        Held { bytes: len, host, device: OnceLock::new(), is_size }
    }

    pub fn on_device(block: Arc<Block<B>>, bytes: usize) -> Held<B> {
        Held { bytes, host: OnceLock::new(), device: OnceLock::from(block), is_size: false }
    }
}

pub(crate) enum Place<B> {
    Constant(ConstantId),
    Held(Arc<Held<B>>),
}

impl<B> Clone for Place<B> {
    fn clone(&self) -> Self {
        match self {
            Place::Constant(id) => Place::Constant(*id),
            Place::Held(held) => Place::Held(held.clone()),
        }
    }
}

/// A defined value.
pub(crate) struct Value<B> {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub place: Place<B>,
    pub digest: Option<DigestSource>,
}

impl<B> Clone for Value<B> {
    fn clone(&self) -> Self {
        let Value { dtype, shape, place, digest } = self;
        Value { dtype: *dtype, shape: shape.clone(), place: place.clone(), digest: digest.clone() }
    }
}

/// The device memory of one program, kept between runs.
pub(crate) struct Memory<B> {
    /// By constant; uploaded when first needed.
    constants: BTreeMap<ConstantId, Arc<Block<B>>>,
    /// By block, then slot.
    slots: BTreeMap<(usize, SlotId), Arc<Block<B>>>,
    /// For values without a slot.
    spares: Vec<Arc<Block<B>>>,
    /// By block, then step: fused regions that were made ready; `None` for those that the device does not take.
    regions: BTreeMap<(usize, usize), Option<Arc<Prepared<B>>>>,
    /// Who may have code for them.
    backend: Option<Arc<dyn RegionBackend>>,
}

impl<B> Memory<B> {
    /// Nothing yet; regions run by the code that is made for them where `regions` says who makes it.
    pub fn new(regions: &Regions) -> Self {
        Memory {
            constants: BTreeMap::new(),
            slots: BTreeMap::new(),
            spares: Vec::new(),
            regions: BTreeMap::new(),
            backend: match regions {
                Regions::Backend(backend) => Some(backend.clone()),
                Regions::Tiles | Regions::Unfused => None,
            },
        }
    }

    /// Memory of at least `len` bytes that no value holds, for a value of `slot`.
    pub fn take<D: Device<Buffer = B>>(
        &mut self,
        device: &D,
        block: usize,
        slot: Option<SlotId>,
        len: usize,
    ) -> Result<Arc<Block<B>>, Error> {
        if let Some(slot) = slot
            && let Some(held) = self.slots.remove(&(block, slot))
        {
            if Arc::strong_count(&held) == 1 && held.capacity >= len {
                return Ok(held);
            }
            // A view or a result still holds it, or it is too small.
            self.spare(held);
        }
        let free = |spare: &Arc<Block<B>>| {
            Arc::strong_count(spare) == 1 && spare.capacity >= len && spare.capacity / 2 <= len.max(4096)
        };
        if let Some(at) = self.spares.iter().position(free) {
            return Ok(self.spares.swap_remove(at));
        }
        Ok(Arc::new(self.new_block(device, len)?))
    }

    /// Gives the slot its memory back; the value holds a reference too.
    pub fn keep(&mut self, block: usize, slot: Option<SlotId>, memory: &Arc<Block<B>>) {
        match slot {
            Some(slot) => drop(self.slots.insert((block, slot), memory.clone())),
            None => self.spare(memory.clone()),
        }
    }

    /// A constant's bytes as the program stores them.
    pub fn constant<D: Device<Buffer = B>>(
        &mut self,
        device: &D,
        id: ConstantId,
        bytes: &[u8],
    ) -> Result<Arc<Block<B>>, Error> {
        if let Some(there) = self.constants.get(&id) {
            return Ok(there.clone());
        }
        let block = self.new_block(device, bytes.len())?;
        device.write(&block.buffer, 0, bytes)?;
        let block = Arc::new(block);
        self.constants.insert(id, block.clone());
        Ok(block)
    }

    /// A fused region, ready to be launched; `None` where the device does not take it.
    pub fn region<D: Device<Buffer = B>>(
        &mut self,
        device: &D,
        place: (usize, usize),
        region: &Region,
    ) -> Result<Option<Arc<Prepared<B>>>, Error> {
        if let Some(known) = self.regions.get(&place) {
            return Ok(known.clone());
        }
        let prepared = prepare(device, region, self.backend.as_deref())?.map(Arc::new);
        self.regions.insert(place, prepared.clone());
        Ok(prepared)
    }

    /// New memory; when there is none left, what is only kept for later is freed and it is tried once more.
    fn new_block<D: Device<Buffer = B>>(&mut self, device: &D, len: usize) -> Result<Block<B>, Error> {
        // Kernels may be handed the address of an empty tensor.
        let capacity = len.max(16);
        let buffer = match device.alloc(capacity) {
            Err(Error::OutOfMemory { .. }) if self.release() => device.alloc(capacity)?,
            result => result?,
        };
        Ok(Block { buffer, capacity })
    }

    /// Frees what no value holds; says whether that was anything.
    fn release(&mut self) -> bool {
        let before = self.spares.len() + self.slots.len();
        self.spares.retain(|spare| Arc::strong_count(spare) > 1);
        self.slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        self.spares.len() + self.slots.len() < before
    }

    /// Bytes of everything held.
    pub fn bytes(&self) -> usize {
        let blocks = self.constants.values().chain(self.slots.values()).chain(&self.spares);
        blocks.map(|block| block.capacity).sum()
    }

    fn spare(&mut self, block: Arc<Block<B>>) {
        if self.spares.len() == SPARES_MAX {
            self.spares.remove(0);
        }
        self.spares.push(block);
    }
}
