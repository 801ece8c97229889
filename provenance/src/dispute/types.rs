//! The judgement of a disputed tensor's type: what follows from the inputs' types, and where inference asks for it their values.

use repops::ops::dispute::TensorType;

use super::facts::{Facts, Gap};
use super::judge::{Context, Disputed, Finding, StepTypes, losers, step_and_inputs};
use super::moved::{moved, moved_type};
use super::opened::{infer, input_types, read_for_claims, whole};
use super::verdict::Reason;

/// Types of the step; `Agreed` when both parties' type of the output is right.
pub(super) fn types(
    context: &Context<'_>,
    of: Disputed,
    claimed: &[TensorType; 2],
    facts: &mut dyn Facts,
) -> Result<(Finding, StepTypes), Gap> {
    if let Some(moved) = moved(context, of, facts)? {
        let expected = moved_type(context, &moved, facts)?;
        let finding = match claimed.each_ref().map(|ty| *ty == expected) {
            [true, true] => Finding::Agreed,
            right => losers(right, of.type_reason()),
        };
        return Ok((finding, (Vec::new(), vec![expected])));
    }
    let output = of.number();
    let (step, digests) = step_and_inputs(context)?;
    let inputs = input_types(digests, facts)?;
    let inferred = infer(step, digests, &inputs, facts)?;
    let expected = inferred.get(output as usize).ok_or(Gap::Undecidable("an output's type"))?;
    let fits = |ty: &TensorType| {
        ty.dtype == expected.dtype
            && ty.shape.len() == expected.shape.len()
            && ty.shape.iter().zip(&expected.shape).all(|(&d, e)| e.as_const().is_none_or(|e| e == d as i64))
    };
    let right = [fits(&claimed[0]), fits(&claimed[1])];
    let outputs = inferred.iter().enumerate().map(|(at, ty)| match at == output as usize {
        true => claimed[0].clone(),
        false => TensorType {
            dtype: ty.dtype,
            shape: ty.shape.iter().map(|d| d.as_extent().unwrap_or(0)).collect(),
        },
    });
    let types: StepTypes = (inputs, outputs.collect());
    if right == [true; 2] && claimed[0] == claimed[1] {
        read_for_claims(step, digests, &types, output, facts)?;
        return Ok((Finding::Agreed, types));
    }
    if right != [true; 2] {
        return Ok((losers(right, Reason::OutputType(output)), types));
    }
    // Extents that depend on data: the step itself says.
    let found = whole(step, digests, &types.0, facts)?.map_err(|fault| Gap::Stop(fault.into()))?;
    let tensor = found.get(output as usize).ok_or(Gap::Undecidable("an output's type"))?;
    let right = claimed.each_ref().map(|ty| ty.shape == tensor.shape());
    Ok((losers(right, Reason::OutputType(output)), types))
}

/// Reads what the type of a disputed tensor follows from, which is opened before the parties state it. Where the type
/// depends on data, what their statements are compared with is opened after them.
pub(super) fn read_for_types(context: &Context<'_>, of: Disputed, facts: &mut dyn Facts) -> Result<(), Gap> {
    let mut read = || -> Result<(), Gap> {
        if let Some(moved) = moved(context, of, facts)? {
            return moved_type(context, &moved, facts).map(drop);
        }
        let (step, digests) = step_and_inputs(context)?;
        let inputs = input_types(digests, facts)?;
        let inferred = infer(step, digests, &inputs, facts)?;
        let known = inferred.iter().map(|ty| Some(TensorType { dtype: ty.dtype, shape: ty.extents()? }));
        match known.collect() {
            Some(outputs) => read_for_claims(step, digests, &(inputs, outputs), of.number(), facts),
            None => Ok(()),
        }
    };
    match read() {
        Err(gap @ Gap::Missing(_)) => Err(gap),
        // What stops here stops again where it matters.
        _ => Ok(()),
    }
}
