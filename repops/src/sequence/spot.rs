//! One row of a sequence, given the keys and values of the rows before it: what a check of single positions computes.

use std::collections::BTreeMap;

use crate::digest::merkle_root;
use crate::exec::ExecError;
use crate::fma;
use crate::ops::{self, EvalCtx};
use crate::program::{BlockId, Program, Step, ValueId};
use crate::reference::{Reference, evaluate_region, unpack};
use crate::tensor::{Tensor, TensorView};

use super::reference::RowsError;
use super::trace::{Entry, row_digest, step_leaf};
use super::{Row, Sequence};

/// The keys or values of an attention: an output of a carried step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    pub value: ValueId,
    pub step: usize,
    pub output: usize,
    pub row: Row,
}

/// Keys and values of every attention, in program order: those of the first, those of the second ...
pub fn kept(program: &Program, sequence: &Sequence) -> Option<Vec<Kept>> {
    let firsts = program.first_outputs(BlockId(0));
    let steps = &program.main().steps;
    let mut found = Vec::new();
    for &attention in &sequence.attention {
        for input in [1, 2] {
            let value = steps[attention].inputs.get(input).copied().flatten()?;
            let at = |(step, first): (usize, &ValueId)| {
                let output = value.index().checked_sub(first.index())?;
                (output < steps[step].outputs.len()).then_some((step, output))
            };
            let (step, output) = firsts.iter().enumerate().find_map(at)?;
            let row = sequence.rows[value.index()].clone()?;
            found.push(Kept { value, step, output, row });
        }
    }
    Some(found)
}

/// Computes single rows.
pub trait SpotExecutor {
    /// The entry of the log for the last of `tokens`, and the logits if its `head` is wanted. `prefix` holds, in the order
    /// of [`kept`], the rows of the positions before it, one after the other.
    fn row(
        &self,
        program: &Program,
        tokens: &[u32],
        head: bool,
        prefix: &[&[f32]],
    ) -> Result<(Entry, Option<Vec<f32>>), RowsError>;
}

/// The plain way: every step on one row; attention on all, of which only the last query counts.
impl SpotExecutor for Reference {
    fn row(
        &self,
        program: &Program,
        tokens: &[u32],
        head: bool,
        prefix: &[&[f32]],
    ) -> Result<(Entry, Option<Vec<f32>>), RowsError> {
        fma::check()?;
        let sequence = Sequence::of(program)?;
        let (token, position) =
            tokens.split_last().map(|(token, before)| (*token, before.len())).ok_or("no token")?;
        let id = sequence.token(token).ok_or("a token is none of the vocabulary")?;
        let mut values: BTreeMap<ValueId, Tensor> = BTreeMap::new();
        for index in 0..program.header().inputs.len() {
            let value = if index == sequence.tokens { id } else { position as i64 };
            let parameter = ValueId(program.first_param(BlockId(0)).0 + index as u32);
            values.insert(parameter, Tensor::from_slice(&[1], &[value]));
        }
        let firsts = program.first_outputs(BlockId(0));
        let mut leaves = [Vec::new(), Vec::new()];
        let mut attention = 0;
        for (index, step) in program.main().steps.iter().enumerate() {
            let is_attention = sequence.attention.get(attention) == Some(&index);
            let own = if is_attention { prefix.get(2 * attention..2 * attention + 2) } else { None };
            attention += usize::from(is_attention);
            if !sequence.carried[index] && !head {
                continue;
            }
            let mut inputs = Vec::new();
            for input in &step.inputs {
                inputs.push(input.map(|value| read(program, &values, value)).transpose()?);
            }
            if is_attention {
                let own = own.ok_or("rows of keys and values are missing")?;
                extend(&mut inputs, position, own)?;
            }
            let mut outputs = evaluate(step, &inputs)?;
            if is_attention {
                outputs = outputs.iter().map(|output| last_row(output, position)).collect();
            }
            let mut digests = Vec::new();
            for (at, output) in outputs.into_iter().enumerate() {
                let value = ValueId(firsts[index].0 + at as u32);
                let row = sequence.rows[value.index()].as_ref().ok_or("an output has no rows")?;
                digests.push(row_digest(row, output.bytes()));
                values.insert(value, output);
            }
            leaves[usize::from(!sequence.carried[index])].push(step_leaf(index as u32, &digests));
        }
        let [carried, of_head] = leaves;
        let entry =
            Entry { token, carried: merkle_root(&carried), head: head.then(|| merkle_root(&of_head)) };
        let logits = match head {
            true => Some(read(program, &values, program.main().results[0])?.as_slice::<f32>().to_vec()),
            false => None,
        };
        Ok((entry, logits))
    }
}

fn read(program: &Program, values: &BTreeMap<ValueId, Tensor>, value: ValueId) -> Result<Tensor, RowsError> {
    let Some(constant) = program.as_constant(value) else {
        return Ok(values.get(&value).ok_or("a value is read before it is computed")?.clone());
    };
    if let Some(view) = program.constant(constant) {
        return Ok(view.to_tensor()?);
    }
    let decl = &program.constants()[constant.index()];
    Ok(unpack(decl.dtype, &decl.shape, decl.layout, program.constant_bytes(constant))?)
}

fn evaluate(step: &Step, inputs: &[Option<Tensor>]) -> Result<Vec<Tensor>, RowsError> {
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    let failed = |error| ExecError::at(step, error);
    if let Some(region) = &step.region {
        return Ok(evaluate_region(region, &views).map_err(failed)?);
    }
    let ctx = EvalCtx { attrs: &step.attrs, inputs: &views, outputs: step.outputs.len() };
    ops::infer_known(step.def(), &step.attrs, &views, step.outputs.len()).map_err(failed)?;
    Ok(step.def().evaluate(&ctx).map_err(failed)?)
}

/// Puts the rows of earlier positions before those of an attention's inputs; earlier queries are zeros.
fn extend(inputs: &mut [Option<Tensor>], position: usize, kept: &[&[f32]]) -> Result<(), RowsError> {
    for (index, input) in inputs.iter_mut().enumerate().take(3) {
        let row = input.as_ref().ok_or("an attention has three inputs")?;
        let width = row.len();
        let mut all = match index {
            0 => vec![0.0; position * width],
            _ => kept[index - 1].to_vec(),
        };
        if all.len() != position * width {
            return Err("rows of keys and values have another length".into());
        }
        all.extend_from_slice(row.as_slice::<f32>());
        *input = Some(Tensor::from_slice(&[position + 1, width], &all));
    }
    Ok(())
}

fn last_row(output: &Tensor, position: usize) -> Tensor {
    let width = output.len() / (position + 1);
    Tensor::from_slice(&[1, width], &output.as_slice::<f32>()[position * width..])
}
