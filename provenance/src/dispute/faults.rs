//! The judgement of faults: whether what a party names meets the fault that it claims.

use repops::control::ITERATIONS_MAX;
use repops::ops::dispute::{self, Stop, Subject, TensorType, Term};
use repops::ops::{Fault, LOOP, OpClass, OpError, SCAN};
use repops::trace::Frame;

use super::facts::{Facts, Gap};
use super::judge::{ClaimInputs, Context, Finding, Place, paths, step_and_inputs};
use super::message::Party;
use super::opened::{StepInputs, infer, input_types, whole};
use super::paths::carried;
use super::verdict::Reason;

/// Whether the element that a party names meets the fault that it claims.
pub(super) fn fault(
    context: &Context<'_>,
    by: Party,
    output: u32,
    element: u64,
    facts: &mut dyn Facts,
) -> Result<Finding, Gap> {
    let (step, digests) = step_and_inputs(context)?;
    let claimed = context.records.and_then(|records| records[by as usize].fault);
    let claimed = claimed.ok_or(Gap::Undecidable("no fault is claimed"))?;
    if matches!(step.def().class, OpClass::Control) {
        let is_met = control_fault(context, claimed, output, element, facts)?;
        let loser = if is_met { by.other() } else { by };
        return Ok(Finding::Lost(loser.into(), Reason::Fault));
    }
    let types = input_types(digests, facts)?;
    let found: Option<Fault> = match infer(step, digests, &types, facts) {
        Err(Gap::Stop(Stop::Operator(OpError::Fault(fault)))) => Some(fault),
        Err(gap) => return Err(gap),
        Ok(_) if element == u64::MAX => whole(step, digests, &types, facts)?.err(),
        Ok(inferred) => {
            let outputs: Vec<TensorType> = inferred
                .iter()
                .map(|ty| TensorType {
                    dtype: ty.dtype,
                    shape: ty.shape.iter().map(|d| d.as_extent().unwrap_or(0)).collect(),
                })
                .collect();
            let subject = Subject {
                def: step.def(),
                attrs: &step.attrs,
                region: step.region.as_ref(),
                inputs: &types,
                outputs: &outputs,
            };
            let term = Term::Output { output, element };
            let mut open = StepInputs::new(facts, digests);
            // A fault comes before any claim is used.
            let evaluated = dispute::claims(&subject, term, &mut open)
                .and_then(|finer| dispute::value(&subject, term, &vec![0; finer.len()], &mut open));
            match evaluated {
                Err(Stop::Operator(OpError::Fault(fault))) => Some(fault),
                Err(Stop::Closed { .. }) => {
                    return Err(open.gap.take().unwrap_or(Gap::Missing("an element of an input")));
                }
                Err(Stop::TooLarge { bytes }) => return Err(Gap::Stop(Stop::TooLarge { bytes })),
                _ => None,
            }
        }
    };
    let loser = if found == Some(claimed) { by.other() } else { by };
    Ok(Finding::Lost(loser.into(), Reason::Fault))
}

/// The step under dispute, and the path of the record before it.
fn control<'a>(context: &Context<'a>, facts: &mut dyn Facts) -> Result<(&'a Place, Option<Vec<Frame>>), Gap> {
    let place = context.place.ok_or(Gap::Undecidable("no step is under dispute"))?;
    let last = match place.index.checked_sub(1) {
        Some(last) => Some(facts.record(last)?.path),
        None => None,
    };
    Ok((place, last))
}

/// Whether a control-flow step meets a fault: If none; Loop and Scan too many iterations, or slices of several shapes,
/// of which `element` is one that differs from the first, or none and no declared type.
pub(super) fn control_fault(
    context: &Context<'_>,
    claimed: Fault,
    output: u32,
    element: u64,
    facts: &mut dyn Facts,
) -> Result<bool, Gap> {
    let (place, last) = control(context, facts)?;
    let (step, path) = (&place.step, &place.path);
    let inputs = ClaimInputs(context.runs()?[0]);
    let mut paths = paths(facts, &inputs, place.index);
    match (step.op, claimed) {
        (SCAN, Fault::LimitExceeded) => Ok(paths.scan_length(step, path)? > ITERATIONS_MAX),
        (LOOP, Fault::LimitExceeded) => paths.goes_on_at_limit(step, path, last.as_deref()),
        (LOOP | SCAN, Fault::BadShape) => {
            let at = output as usize;
            if at < carried(step) || at >= step.outputs.len() {
                return Ok(false);
            }
            let stack = paths.stack(step, at, path, last.as_deref())?;
            if stack.count == 0 {
                return Ok(step.outputs[at].ty.is_none());
            }
            if element >= stack.count {
                return Ok(false);
            }
            let [one, other] = [paths.stacked(&stack, path, 0)?, paths.stacked(&stack, path, element)?];
            let [one, other] = [facts.header(one)?, facts.header(other)?];
            Ok((one.dtype, one.shape) != (other.dtype, other.shape))
        }
        _ => Ok(false),
    }
}

/// What shows that a control-flow step stacks slices of several shapes: an output, and a slice that differs from the
/// first.
pub(super) fn control_witness(context: &Context<'_>, facts: &mut dyn Facts) -> Option<(u32, u64)> {
    let (place, last) = control(context, facts).ok()?;
    let inputs = ClaimInputs(context.runs().ok()?[0]);
    for output in carried(&place.step)..place.step.outputs.len() {
        let stack =
            paths(facts, &inputs, place.index).stack(&place.step, output, &place.path, last.as_deref());
        for element in 0..stack.ok()?.count.max(1) {
            if let Ok(true) = control_fault(context, Fault::BadShape, output as u32, element, facts) {
                return Some((output as u32, element));
            }
        }
    }
    None
}
