//! What steps give, row by row, as leaves of the rows' logs, hashed where the bytes are: SPEC.md, "Sequence programs".
//!
//! A plan is made once for steps of so many rows at such places, and launched whenever they have been computed.
//! Invariant: a leaf is what `repops::sequence::trace::step_leaf` says of the row's digests.

use repops::digest::{LEAF_BYTES, Layout, bind_prefix};
use repops::sequence::Row;

use super::hash::ROOT_BYTES;
use crate::device::{Argument, Device};
use crate::{Error, kernels};

kernels! {
    ROW_HASH = "row_hash";
    ROW_LEAVES = "row_leaves";
    ROW_STEPS = "row_steps";
}

/// Threads of a block.
const GROUP: usize = 128;
/// Bytes that may stand before a root: of a row of more than a hundred axes.
const BINDING_MAX: usize = 1024;

/// The rows that a step gives.
#[derive(Clone, Debug)]
pub struct StepRows<'a> {
    /// In the program.
    pub number: u32,
    pub rows: usize,
    /// For each output where its rows lie, one after the other, in bytes, and what a row is.
    pub outputs: Vec<(usize, &'a Row)>,
    /// The place of the first row's leaf among the digests that are written, and what lies between two of them.
    pub to: usize,
    pub stride: usize,
}

/// Steps whose rows are hashed together.
pub struct RowHashing<B> {
    /// Steps, outputs, and what stands before their roots.
    table: B,
    outputs_at: usize,
    bindings_at: usize,
    steps: u32,
    outputs: u32,
    blocks: u32,
    leaves: u32,
}

fn number(value: usize) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| Error::unsupported("hashing so many rows at once"))
}

impl<B> RowHashing<B> {
    /// Steps that have rows.
    pub fn new<D: Device<Buffer = B>>(device: &D, steps: &[StepRows<'_>]) -> Result<RowHashing<B>, Error> {
        let (mut of_steps, mut of_outputs) = (Vec::new(), Vec::new());
        let mut bindings = Vec::new();
        let (mut blocks, mut outputs, mut leaves) = (0usize, 0usize, 0usize);
        for step in steps {
            of_steps.extend((step.to as u64).to_le_bytes());
            of_steps.extend((step.stride as u64).to_le_bytes());
            for word in [number(blocks)?, number(outputs)?, number(step.outputs.len())?, step.number] {
                of_steps.extend(word.to_le_bytes());
            }
            for (at, row) in &step.outputs {
                let begin = bindings.len();
                bind_prefix(&mut bindings, row.dtype, Layout::RowMajor, &row.shape, row.bytes() as u64);
                let of_binding = bindings.len() - begin;
                if of_binding > BINDING_MAX {
                    return Err(Error::unsupported(format!("hashing rows of {} axes", row.shape.len())));
                }
                of_outputs.extend((*at as u64).to_le_bytes());
                of_outputs.extend((row.bytes() as u64).to_le_bytes());
                let of_row = row.bytes().div_ceil(LEAF_BYTES);
                for word in [leaves, of_row, begin, of_binding] {
                    of_outputs.extend(number(word)?.to_le_bytes());
                }
                leaves += step.rows * of_row;
            }
            (blocks, outputs) = (blocks + step.rows, outputs + step.outputs.len());
        }
        let (outputs_at, bindings_at) = (of_steps.len(), of_steps.len() + of_outputs.len());
        let bytes = [of_steps, of_outputs, bindings].concat();
        let table = device.put(&bytes)?;
        Ok(RowHashing {
            table,
            outputs_at,
            bindings_at,
            steps: steps.len() as u32,
            outputs: number(outputs)?,
            blocks: number(blocks)?,
            leaves: number(leaves)?,
        })
    }

    /// Hashes rows that lie in `base`, and puts their leaves into `out`.
    pub fn launch<D: Device<Buffer = B>>(&self, device: &D, base: &B, out: &B) -> Result<(), Error> {
        if self.blocks == 0 {
            return Ok(());
        }
        let leaves = device.alloc((self.leaves as usize).max(1) * ROOT_BYTES)?;
        let at = |buffer, offset| Argument::Pointer { buffer, offset };
        if self.leaves > 0 {
            device.launch(
                &ROW_LEAVES,
                [self.leaves.div_ceil(GROUP as u32), 1, 1],
                [GROUP as u32, 1, 1],
                0,
                &[
                    at(&leaves, 0),
                    at(&self.table, self.outputs_at),
                    Argument::U32(self.outputs),
                    Argument::U32(self.leaves),
                    at(base, 0),
                ],
            )?;
        }
        device.launch(
            &ROW_STEPS,
            [self.blocks, 1, 1],
            [GROUP as u32, 1, 1],
            0,
            &[
                at(out, 0),
                at(&self.table, 0),
                Argument::U32(self.steps),
                at(&self.table, self.outputs_at),
                at(&self.table, self.bindings_at),
                at(&leaves, 0),
            ],
        )
    }
}
