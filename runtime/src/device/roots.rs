//! Merkle roots that the device computes: work is gathered, and roots are fetched when many are there.
//!
//! They are hashed beside what is computed meanwhile. Invariant: memory that waits to be hashed, or is being hashed, is held, so that
//! nothing writes it before.

use std::sync::Arc;

use repops::Digest;
use repops_cuda::launch::hash::{Bytes, ROOT_BYTES, roots};
use repops_cuda::{Device, Error};

use super::memory::Block;
use crate::hashing::RootCell;

/// Values that are hashed by one launch; it takes so many buffers.
const GATHERED_MAX: usize = 8;
/// Bytes of values that wait for others.
const GATHERED_BYTES_MAX: usize = 16 << 20;
/// Roots on the device before they are fetched.
const ROOTS_MAX: usize = 1024;

pub(super) struct Roots<B> {
    gathered: Vec<(RootCell, Arc<Block<B>>, usize)>,
    gathered_bytes: usize,
    /// What is hashed beside other work, until that is waited for.
    hashing: Vec<Arc<Block<B>>>,
    /// Where the device puts roots.
    out: Option<B>,
    /// Those whose roots are there, or will be, in order.
    asked: Vec<RootCell>,
}

impl<B> Default for Roots<B> {
    fn default() -> Self {
        Roots { gathered: Vec::new(), gathered_bytes: 0, hashing: Vec::new(), out: None, asked: Vec::new() }
    }
}

impl<B> Roots<B> {
    /// The root over the first `len` bytes of a block, once [`Roots::fetch`] has brought it.
    pub fn ask<D: Device<Buffer = B>>(
        &mut self,
        device: &D,
        block: &Arc<Block<B>>,
        len: usize,
    ) -> Result<RootCell, Error> {
        let cell = RootCell::default();
        self.gathered.push((cell.clone(), block.clone(), len));
        self.gathered_bytes += len;
        if self.gathered.len() == GATHERED_MAX || self.gathered_bytes >= GATHERED_BYTES_MAX {
            self.hash(device)?;
        }
        Ok(cell)
    }

    /// Has the device hash what was gathered.
    fn hash<D: Device<Buffer = B>>(&mut self, device: &D) -> Result<(), Error> {
        if self.asked.len() + self.gathered.len() > ROOTS_MAX {
            self.bring(device)?;
        }
        let gathered = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        if gathered.is_empty() {
            return Ok(());
        }
        if self.out.is_none() {
            self.out = Some(device.alloc(ROOTS_MAX * ROOT_BYTES)?);
        }
        let out = self.out.as_ref().expect("just made sure");
        let tensors: Vec<Bytes<'_, B>> = gathered
            .iter()
            .map(|(_, block, len)| Bytes { buffer: &block.buffer, offset: 0, len: *len })
            .collect();
        let offset = self.asked.len() * ROOT_BYTES;
        // What was hashed before is done when this begins, and its memory free.
        device.join()?;
        self.hashing.clear();
        device.beside(&mut || roots(device, &tensors, out, offset))?;
        for (cell, block, _) in gathered {
            self.asked.push(cell);
            self.hashing.push(block);
        }
        Ok(())
    }

    /// Fetches the roots that the device was asked for.
    fn bring<D: Device<Buffer = B>>(&mut self, device: &D) -> Result<(), Error> {
        let asked = std::mem::take(&mut self.asked);
        let Some(out) = self.out.as_ref().filter(|_| !asked.is_empty()) else { return Ok(()) };
        device.join()?;
        self.hashing.clear();
        let mut bytes = vec![0; asked.len() * ROOT_BYTES];
        device.read(out, 0, &mut bytes)?;
        for (cell, root) in asked.iter().zip(bytes.chunks_exact(ROOT_BYTES)) {
            let root = Digest(root.try_into().expect("chunks of 32 bytes"));
            cell.set(root).expect("each cell is filled once");
        }
        Ok(())
    }

    /// Fills all cells.
    pub fn fetch<D: Device<Buffer = B>>(&mut self, device: &D) -> Result<(), Error> {
        self.hash(device)?;
        self.bring(device)
    }
}
