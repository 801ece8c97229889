//! All rows of a sequence at once on a device: what verifies a generation.
//!
//! Rows are hashed on the CPU, side by side. Invariant: logits and root are those of the plain way, to the bit.

use repops::Tensor;
use repops::digest::Digest;
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use repops::ops::OpError;
use repops::program::{BlockId, Program, ValueId};
use repops::sequence::reference::{RowsError, RowsExecutor};
use repops::sequence::trace::{Entry, sequence_root};
use repops::sequence::{Row, Sequence};
use repops_cuda::Device;

use super::DeviceRuntime;
use crate::session::hashing::Leaves;

impl<D: Device> RowsExecutor for DeviceRuntime<D> {
    fn rows(
        &self,
        program: &Program,
        tokens: &[u32],
        first: usize,
        traced: bool,
        visit: &mut dyn FnMut(usize, &[f32]) -> Result<(), RowsError>,
    ) -> Result<Option<Digest>, RowsError> {
        let sequence = Sequence::of(program)?;
        let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
        let positions: Vec<i64> = (0..tokens.len() as i64).collect();
        let shape = [tokens.len()];
        let mut inputs = vec![Tensor::from_slice(&shape, &positions); program.header().inputs.len()];
        inputs[sequence.tokens] = Tensor::from_slice(&shape, &ids);
        let mut log = Log {
            sequence: &sequence,
            firsts: program.first_outputs(BlockId(0)),
            pool: &self.cpu.pool,
            leaves: traced.then(|| {
                let mut leaves = Leaves::default();
                leaves.begin(tokens.len(), tokens.len());
                leaves
            }),
        };
        let execution = self.execute(program, &inputs, HashLevel::None, &mut log)?;
        let logits = match execution.result {
            Ok(mut outputs) => outputs.swap_remove(0),
            Err(at) => {
                let error = OpError::Fault(at.fault);
                return Err(ExecError::Step { op: at.op, node: at.node, error }.into());
            }
        };
        let rows = logits.as_slice::<f32>().chunks_exact(sequence.vocabulary.max(1));
        for (position, logits) in rows.enumerate().skip(first) {
            visit(position, logits)?;
        }
        let Some(mut leaves) = log.leaves else { return Ok(None) };
        let (carried, heads) = self.cpu.pool.install(|| leaves.finish());
        let entries: Vec<Digest> = carried
            .into_iter()
            .zip(heads)
            .zip(tokens)
            .enumerate()
            .map(|(position, ((carried, head), &token))| {
                let head = (position >= first).then_some(head);
                Entry { token, carried, head }.digest(position as u64)
            })
            .collect();
        Ok(Some(sequence_root(&entries, first as u64)))
    }
}

/// Makes leaves of what steps give.
struct Log<'a> {
    sequence: &'a Sequence,
    firsts: Vec<ValueId>,
    pool: &'a rayon::ThreadPool,
    leaves: Option<Leaves>,
}

impl Observer for Log<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        let Some(leaves) = &mut self.leaves else { return };
        let (first, head) = (self.firsts[event.index].index(), !self.sequence.carried[event.index]);
        let mut outputs: Vec<(&Row, &[u8])> = Vec::with_capacity(event.outputs.len());
        for (row, output) in self.sequence.rows[first..].iter().zip(event.outputs) {
            outputs.push((row.as_ref().expect("every output has rows"), output.bytes));
        }
        // A step that met a fault gives nothing, and ends the run.
        if !outputs.is_empty() {
            self.pool.install(|| leaves.add(event.index, head, &outputs));
        }
    }

    fn looks(&self) -> bool {
        self.leaves.is_some()
    }
}
