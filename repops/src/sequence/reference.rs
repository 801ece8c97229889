//! The plain way: all rows at once by the reference executor, and the log made of what it shows.

use crate::digest::{Digest, merkle_root};
use crate::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use crate::program::{BlockId, Program};
use crate::reference::Reference;
use crate::tensor::Tensor;

use super::Sequence;
use super::trace::{Entry, row_digest, sequence_root, step_leaf};

/// Why rows could not be computed.
pub type RowsError = Box<dyn std::error::Error + Send + Sync>;

/// Computes all rows of a sequence, as whoever knows the tokens can.
pub trait RowsExecutor {
    /// Shows the logits of every position from `first` on to `visit`, in order, which may end it with an error; gives the
    /// sequence root if `traced`.
    fn rows(
        &self,
        program: &Program,
        tokens: &[u32],
        first: usize,
        traced: bool,
        visit: &mut dyn FnMut(usize, &[f32]) -> Result<(), RowsError>,
    ) -> Result<Option<Digest>, RowsError>;
}

impl RowsExecutor for Reference {
    fn rows(
        &self,
        program: &Program,
        tokens: &[u32],
        first: usize,
        traced: bool,
        visit: &mut dyn FnMut(usize, &[f32]) -> Result<(), RowsError>,
    ) -> Result<Option<Digest>, RowsError> {
        let sequence = Sequence::of(program)?;
        let rows = run(program, &sequence, tokens, first)?;
        let logits = rows.logits.as_slice::<f32>().chunks_exact(sequence.vocabulary.max(1));
        for (position, logits) in logits.enumerate().skip(first) {
            visit(position, logits)?;
        }
        let entries: Vec<Digest> = rows.entries.iter().enumerate().map(|(p, e)| e.digest(p as u64)).collect();
        Ok(traced.then(|| sequence_root(&entries, first as u64)))
    }
}

/// The logits of every position and the entries of the log.
pub struct Rows {
    pub logits: Tensor,
    pub entries: Vec<Entry>,
}

struct Leaves<'a> {
    sequence: &'a Sequence,
    firsts: Vec<crate::program::ValueId>,
    /// For each position the leaves of carried steps and of the others.
    leaves: Vec<[Vec<Digest>; 2]>,
}

impl Observer for Leaves<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        let first = self.firsts[event.index].index();
        for (position, leaves) in self.leaves.iter_mut().enumerate() {
            let mut outputs = Vec::new();
            for (at, output) in event.outputs.iter().enumerate() {
                let row = self.sequence.rows[first + at].as_ref().expect("every output has rows");
                let bytes = &output.bytes[position * row.bytes()..][..row.bytes()];
                outputs.push(row_digest(row, bytes));
            }
            let half = usize::from(!self.sequence.carried[event.index]);
            leaves[half].push(step_leaf(event.index as u32, &outputs));
        }
    }
}

/// The program's inputs for a whole sequence.
pub fn inputs(program: &Program, sequence: &Sequence, tokens: &[u32]) -> Vec<Tensor> {
    let ids: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
    let positions: Vec<i64> = (0..tokens.len() as i64).collect();
    let shape = [tokens.len()];
    let mut inputs = vec![Tensor::from_slice(&shape, &positions); program.header().inputs.len()];
    inputs[sequence.tokens] = Tensor::from_slice(&shape, &ids);
    inputs
}

/// Runs `tokens` through a sequence program; logits count from position `first` on.
pub fn run(program: &Program, sequence: &Sequence, tokens: &[u32], first: usize) -> Result<Rows, ExecError> {
    let inputs = inputs(program, sequence, tokens);
    let leaves = vec![[Vec::new(), Vec::new()]; tokens.len()];
    let mut observer = Leaves { sequence, firsts: program.first_outputs(BlockId(0)), leaves };
    let execution = Reference.execute(program, &inputs, HashLevel::None, &mut observer)?;
    let logits = match execution.result {
        Ok(mut outputs) => outputs.swap_remove(0),
        Err(at) => {
            let error = crate::ops::OpError::Fault(at.fault);
            return Err(ExecError::Step { op: at.op, node: at.node, error });
        }
    };
    let entry = |(position, [carried, head]): (usize, &[Vec<Digest>; 2])| Entry {
        token: tokens[position],
        carried: merkle_root(carried),
        head: (position >= first).then(|| merkle_root(head)),
    };
    let entries = observer.leaves.iter().enumerate().map(entry).collect();
    Ok(Rows { logits, entries })
}
