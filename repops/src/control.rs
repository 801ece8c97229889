//! If, Loop and Scan: what control-flow steps do, once for every executor.
//!
//! Invariant: which blocks run, how often and on what, follows from the step's inputs alone. Executors
//! only run blocks.

use crate::ops::{Fault, IF, LOOP, OpError, SCAN};
use crate::program::{BlockId, Step};
use crate::tensor::{Tensor, TensorView, strides};

/// The most iterations of one Loop or Scan.
pub const ITERATIONS_MAX: u64 = 1 << 24;

/// Runs blocks for a control-flow step.
pub trait BlockRunner {
    /// How a run ends early; an operator's own error becomes one through `From`.
    type Error: From<OpError>;
    /// Runs `block` with the given parameters; gives its results.
    fn run_block(
        &mut self,
        block: BlockId,
        iteration: u64,
        args: Vec<Tensor>,
    ) -> Result<Vec<Tensor>, Self::Error>;
    /// The number of parameters and results of a block.
    fn arity(&self, block: BlockId) -> (usize, usize);
    /// A slice of so many bytes is kept until the step is over.
    fn keep(&mut self, bytes: usize) -> Result<(), Self::Error> {
        let _ = bytes;
        Ok(())
    }
}

/// Executes a control-flow step; gives its outputs.
pub fn execute<R: BlockRunner>(
    step: &Step,
    inputs: &[Option<TensorView<'_>>],
    runner: &mut R,
) -> Result<Vec<Tensor>, R::Error> {
    let outputs = match step.op {
        IF => if_else(step, inputs, runner)?,
        LOOP => loop_while(step, inputs, runner)?,
        SCAN => scan(step, inputs, runner)?,
        other => return Err(OpError::Unsupported(format!("operator {other} holds no blocks")).into()),
    };
    if outputs.len() != step.outputs.len() {
        let expected = outputs.len().to_string();
        return Err(OpError::OutputCount { expected, found: step.outputs.len() }.into());
    }
    Ok(outputs)
}

fn blocks<const N: usize>(step: &Step) -> Result<[BlockId; N], OpError> {
    let wrong = || OpError::Unsupported(format!("{N} blocks are needed, {} are there", step.blocks.len()));
    step.blocks.as_slice().try_into().map_err(|_| wrong())
}

fn fits(what: &str, expected: usize, found: usize) -> Result<(), OpError> {
    if expected == found { Ok(()) } else { Err(OpError::shape(format!("{found} {what}, not {expected}"))) }
}

/// The one element of a bool tensor.
fn truth(tensor: TensorView<'_>) -> Result<bool, OpError> {
    match tensor.bytes {
        [value] if tensor.dtype == crate::DType::Bool => Ok(*value != 0),
        _ => Err(OpError::shape("a condition is one bool")),
    }
}

fn if_else<R: BlockRunner>(
    step: &Step,
    inputs: &[Option<TensorView<'_>>],
    runner: &mut R,
) -> Result<Vec<Tensor>, R::Error> {
    let [then_block, else_block] = blocks(step)?;
    let condition = truth(inputs[0].ok_or(OpError::MissingInput { index: 0 })?)?;
    let block = if condition { then_block } else { else_block };
    fits("parameters", 0, runner.arity(block).0)?;
    runner.run_block(block, 0, Vec::new())
}

/// Parameters of the body: iteration (i64), condition, carried values. Results: condition, carried
/// values, one slice of each scan output.
fn loop_while<R: BlockRunner>(
    step: &Step,
    inputs: &[Option<TensorView<'_>>],
    runner: &mut R,
) -> Result<Vec<Tensor>, R::Error> {
    let [body] = blocks(step)?;
    let trips = match inputs.first().copied().flatten() {
        None => None,
        Some(m) => {
            let value = m.to_i64s().filter(|v| v.len() == 1);
            Some(value.ok_or_else(|| OpError::shape("a trip count is one integer"))?[0].max(0) as u64)
        }
    };
    let mut go_on = inputs.get(1).copied().flatten().map_or(Ok(true), truth)?;
    let mut carried = owned(&inputs[2.min(inputs.len())..])?;
    let (params, results) = runner.arity(body);
    fits("parameters of the body", carried.len() + 2, params)?;
    let scans = results
        .checked_sub(carried.len() + 1)
        .ok_or_else(|| OpError::shape("the body has fewer results than carried values"))?;
    let mut slices: Vec<Vec<Tensor>> = vec![Vec::new(); scans];
    let mut iteration = 0u64;
    while go_on && trips.is_none_or(|t| iteration < t) {
        if iteration >= ITERATIONS_MAX {
            return Err(OpError::Fault(Fault::LimitExceeded).into());
        }
        let mut args = vec![Tensor::scalar(iteration as i64), Tensor::from_bools(&[], &[true])];
        args.append(&mut carried);
        let mut out = runner.run_block(body, iteration, args)?.into_iter();
        go_on = truth(out.next().ok_or_else(|| OpError::shape("no condition"))?.view())?;
        carried = out.by_ref().take(params - 2).collect();
        for (list, slice) in slices.iter_mut().zip(out) {
            runner.keep(slice.bytes().len())?;
            list.push(slice);
        }
        iteration += 1;
    }
    for (index, list) in slices.into_iter().enumerate() {
        let declared = step.outputs.get(carried_len(params) + index).and_then(|o| o.ty.as_ref());
        carried.push(stack(&list, 0, declared)?);
    }
    Ok(carried)
}

fn carried_len(params: usize) -> usize {
    params - 2
}

fn owned(views: &[Option<TensorView<'_>>]) -> Result<Vec<Tensor>, OpError> {
    views
        .iter()
        .enumerate()
        .map(|(index, view)| Ok(view.ok_or(OpError::MissingInput { index })?.to_tensor()?))
        .collect()
}

/// Parameters of the body: states, one slice of each scanned input. Results: states, one slice of each
/// scan output.
fn scan<R: BlockRunner>(
    step: &Step,
    inputs: &[Option<TensorView<'_>>],
    runner: &mut R,
) -> Result<Vec<Tensor>, R::Error> {
    let [body] = blocks(step)?;
    let scanned = usize::try_from(step.attrs.int("num_scan_inputs")).unwrap_or(usize::MAX);
    let states = inputs
        .len()
        .checked_sub(scanned)
        .filter(|_| scanned > 0)
        .ok_or_else(|| OpError::attr("num_scan_inputs", "is not between 1 and the number of inputs"))?;
    let (params, results) = runner.arity(body);
    fits("parameters of the body", inputs.len(), params)?;
    let outputs = results
        .checked_sub(states)
        .ok_or_else(|| OpError::shape("the body has fewer results than states"))?;
    let list = |name: &str, count: usize| -> Result<Vec<i64>, OpError> {
        let values = step.attrs.opt_ints(name).map_or_else(|| vec![0; count], <[i64]>::to_vec);
        if values.len() == count {
            Ok(values)
        } else {
            Err(OpError::attr(name, format!("needs {count} entries")))
        }
    };
    let (in_axes, in_backwards) =
        (list("scan_input_axes", scanned)?, list("scan_input_directions", scanned)?);
    let (out_axes, out_backwards) =
        (list("scan_output_axes", outputs)?, list("scan_output_directions", outputs)?);
    let sources = owned(&inputs[states..])?;
    let axis_of =
        |rank: usize, axis: i64| crate::ops::infer::normalize_axis(axis, rank).map_err(OpError::shape);
    let mut axes = Vec::new();
    for (source, axis) in sources.iter().zip(&in_axes) {
        axes.push(axis_of(source.shape().len(), *axis)?);
    }
    let length = sources[0].shape()[axes[0]];
    for (source, axis) in sources.iter().zip(&axes) {
        fits("slices of a scanned input", length, source.shape()[*axis])?;
    }
    // Slices without elements cost no memory, so that a few bytes may declare any number of them. A Scan knows its
    // number of iterations, so it is refused before the first, where a Loop is after the last that is allowed.
    if length as u64 > ITERATIONS_MAX {
        return Err(OpError::Fault(Fault::LimitExceeded).into());
    }
    let mut carried = owned(&inputs[..states])?;
    let mut slices: Vec<Vec<Tensor>> = vec![Vec::new(); outputs];
    for iteration in 0..length {
        let mut args = std::mem::take(&mut carried);
        for ((source, &axis), &backwards) in sources.iter().zip(&axes).zip(&in_backwards) {
            let at = if backwards != 0 { length - 1 - iteration } else { iteration };
            args.push(slice(source, axis, at)?);
        }
        let mut out = runner.run_block(body, iteration as u64, args)?.into_iter();
        carried = out.by_ref().take(states).collect();
        for (list, slice) in slices.iter_mut().zip(out) {
            runner.keep(slice.bytes().len())?;
            list.push(slice);
        }
    }
    for (index, mut list) in slices.into_iter().enumerate() {
        if out_backwards[index] != 0 {
            list.reverse();
        }
        let declared = step.outputs.get(states + index).and_then(|o| o.ty.as_ref());
        // Without slices the declared type says how many axes there are.
        let rank = match list.first() {
            Some(slice) => slice.shape().len() + 1,
            None => declared.ok_or(OpError::Fault(Fault::BadShape))?.shape.len(),
        };
        carried.push(stack(&list, axis_of(rank, out_axes[index])?, declared)?);
    }
    Ok(carried)
}

/// The slice at `at` along `axis`, without that axis.
pub fn slice(tensor: &Tensor, axis: usize, at: usize) -> Result<Tensor, OpError> {
    let mut shape = tensor.shape().to_vec();
    let inner = strides(&shape)[axis] * tensor.dtype().size();
    let extent = shape.remove(axis);
    let mut out = Tensor::zeros(tensor.dtype(), &shape)?;
    if inner > 0 && extent > 0 {
        for (to, from) in
            out.bytes_mut().chunks_exact_mut(inner).zip(tensor.bytes().chunks_exact(inner * extent))
        {
            to.copy_from_slice(&from[at * inner..][..inner]);
        }
    }
    Ok(out)
}

/// Slices of one shape stacked along a new axis. Without slices the declared type says what is empty.
fn stack(slices: &[Tensor], axis: usize, declared: Option<&crate::ops::SymType>) -> Result<Tensor, OpError> {
    let Some(first) = slices.first() else {
        let ty = declared.ok_or(OpError::Fault(Fault::BadShape))?;
        let mut shape: Vec<usize> = ty.shape.iter().map(|d| d.as_extent().unwrap_or(0)).collect();
        if let Some(extent) = shape.get_mut(axis) {
            *extent = 0;
        }
        return Ok(Tensor::zeros(ty.dtype, &shape)?);
    };
    let mut shape = first.shape().to_vec();
    shape.insert(axis, slices.len());
    let mut out = Tensor::zeros(first.dtype(), &shape)?;
    let inner: usize = first.shape()[axis..].iter().product::<usize>() * first.dtype().size();
    for (at, slice) in slices.iter().enumerate() {
        if slice.shape() != first.shape() || slice.dtype() != first.dtype() {
            return Err(OpError::Fault(Fault::BadShape));
        }
        if inner > 0 {
            let rows = slice.bytes().chunks_exact(inner);
            for (from, to) in rows.zip(out.bytes_mut().chunks_exact_mut(inner * slices.len())) {
                to[at * inner..][..inner].copy_from_slice(from);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::attrs::Attrs;
    use crate::dim::DimExpr;
    use crate::ops::SymType;
    use crate::program::Output;

    /// A body of one parameter and one result, which is not run.
    struct Never;

    impl BlockRunner for Never {
        type Error = OpError;

        fn run_block(&mut self, _: BlockId, _: u64, _: Vec<Tensor>) -> Result<Vec<Tensor>, OpError> {
            Err(OpError::Unsupported("the body ran".to_string()))
        }

        fn arity(&self, _: BlockId) -> (usize, usize) {
            (1, 1)
        }
    }

    #[test]
    fn a_scan_of_too_many_slices_is_refused_before_the_first() {
        let scan = |slices: usize| {
            let step = Step {
                op: SCAN,
                version: 1,
                attrs: Attrs::new().with_int("num_scan_inputs", 1),
                inputs: vec![None],
                outputs: vec![Output { ty: None, slot: None }],
                region: None,
                blocks: vec![BlockId(1)],
                origins: Vec::new(),
            };
            execute(&step, &[Some(Tensor::from_slice::<f32>(&[slices, 0], &[]).view())], &mut Never)
        };
        let most = ITERATIONS_MAX as usize;
        assert!(matches!(scan(most), Err(OpError::Unsupported(why)) if why == "the body ran"));
        assert!(matches!(scan(most + 1), Err(OpError::Fault(Fault::LimitExceeded))));
    }

    #[test]
    fn a_scan_of_nothing_has_its_declared_type() {
        let scan = |axis: i64, ty: Option<SymType>| {
            let step = Step {
                op: SCAN,
                version: 1,
                attrs: Attrs::new().with_int("num_scan_inputs", 1).with_ints("scan_output_axes", &[axis]),
                inputs: vec![None],
                outputs: vec![Output { ty, slot: None }],
                region: None,
                blocks: vec![BlockId(1)],
                origins: Vec::new(),
            };
            execute(&step, &[Some(Tensor::from_slice::<f32>(&[0, 2], &[]).view())], &mut Never)
        };
        let ty = |dims: Vec<DimExpr>| Some(SymType::new(DType::F32, dims));
        let known = || ty([2usize, 7, 4].map(DimExpr::from).to_vec());
        for (axis, shape) in [(0, [0, 7, 4]), (1, [2, 0, 4]), (-1, [2, 7, 0])] {
            assert_eq!(scan(axis, known()).unwrap()[0].shape(), shape);
        }
        assert!(scan(3, known()).is_err());
        assert!(scan(0, ty(Vec::new())).is_err());
        assert!(matches!(scan(1, None), Err(OpError::Fault(Fault::BadShape))));
    }
}
