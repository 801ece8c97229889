//! Where values live.
//!
//! A slot is a buffer that values take turns in, as the program's plan says. Buffers are shared with
//! hashing by reference count: one that is still being hashed is not written; the value gets another
//! buffer instead. So hashing never waits for computing, nor computing for hashing, within a bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::DType;
use repops::program::{ConstantId, SlotId};
use repops::tensor::{AlignedBytes, TensorError};

/// Spare buffers kept for reuse.
const SPARES_MAX: usize = 16;

/// Where a value's bytes are.
#[derive(Clone)]
pub(crate) enum Place {
    Constant(ConstantId),
    /// An input of the program, by position.
    Input(usize),
    /// A buffer: a slot's or its own.
    Buffer(Arc<AlignedBytes>),
}

/// A defined value.
#[derive(Clone)]
pub(crate) struct Value {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub place: Place,
    /// Ready or being computed; there for constants, which declare theirs, and when a trace is asked for.
    pub digest: Option<crate::hashing::DigestSource>,
}

/// The buffers of one program, kept between runs.
#[derive(Default)]
pub(crate) struct Memory {
    /// By block, then slot.
    slots: BTreeMap<(usize, SlotId), Arc<AlignedBytes>>,
    spares: Vec<Arc<AlignedBytes>>,
    /// What the caller has given back, for values without a slot.
    returned: Vec<Arc<AlignedBytes>>,
}

impl Memory {
    /// A buffer of `len` bytes that nobody else holds, for a value of `slot`.
    pub fn take(
        &mut self,
        block: usize,
        slot: Option<SlotId>,
        len: usize,
    ) -> Result<Arc<AlignedBytes>, TensorError> {
        if let Some(slot) = slot {
            if let Some(mut held) = self.slots.remove(&(block, slot)) {
                match Arc::get_mut(&mut held) {
                    // However small the value: a larger one takes its turn in this slot again.
                    Some(bytes) if bytes.capacity() >= len => {
                        bytes.set_len(len);
                        return Ok(held);
                    }
                    // Too small, and of no use to anyone.
                    Some(_) => {}
                    None => self.spare(held),
                }
            }
            if let Some(at) = self.spares.iter_mut().position(|spare| fit(spare, len)) {
                return Ok(self.spares.swap_remove(at));
            }
        } else if let Some(at) = self.returned.iter_mut().position(|spare| fit(spare, len)) {
            return Ok(self.returned.swap_remove(at));
        }
        AlignedBytes::zeros(len).map(Arc::new)
    }

    /// Gives the slot its buffer back; the value holds a reference too.
    pub fn keep(&mut self, block: usize, slot: Option<SlotId>, buffer: &Arc<AlignedBytes>) {
        if let Some(slot) = slot {
            self.slots.insert((block, slot), buffer.clone());
        }
    }

    /// Takes memory that the caller needs no more.
    pub fn give_back(&mut self, bytes: AlignedBytes) {
        if self.returned.len() == SPARES_MAX {
            self.returned.remove(0);
        }
        self.returned.push(Arc::new(bytes));
    }

    /// Bytes of all buffers held.
    pub fn bytes(&self) -> usize {
        self.slots.values().chain(&self.spares).chain(&self.returned).map(|buffer| buffer.capacity()).sum()
    }

    /// A buffer that is perhaps still read by hashing, to be used again later.
    fn spare(&mut self, buffer: Arc<AlignedBytes>) {
        if self.spares.len() == SPARES_MAX {
            self.spares.remove(0);
        }
        self.spares.push(buffer);
    }
}

/// Makes the buffer `len` bytes long if nobody else holds it, it is large enough and not far too large.
fn fit(buffer: &mut Arc<AlignedBytes>, len: usize) -> bool {
    match Arc::get_mut(buffer) {
        Some(bytes) if bytes.capacity() >= len && bytes.capacity() / 4 <= len.max(1024) => {
            bytes.set_len(len);
            true
        }
        _ => false,
    }
}
