//! Element-wise operators on what follows from positions alone.

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dim::DimExpr;
use repops::dtype::DType;
use repops::ops::{EvalCtx, OpClass, OpDef, by_name};
use repops::tensor::TensorView;

use super::builder::Builder;
use super::grid::{Form, Linear, linear_size, merged, piece};
use super::{Call, Refusal, Value, What};
use crate::graph::ValueId;

pub fn is_elementwise(def: &OpDef) -> bool {
    matches!(def.class, OpClass::Elementwise(_))
}

fn cast_to(dtype: DType) -> Attrs {
    Attrs::new().with_int("to", i64::from(dtype.code()))
}

/// Adds a Cast.
pub fn cast(out: &mut Builder, x: ValueId, to: DType) -> Result<ValueId, Refusal> {
    out.node("Cast", cast_to(to), &[x])
}

/// A constant in another type.
pub fn converted(tensor: &Tensor, to: DType) -> Result<Tensor, Refusal> {
    if tensor.dtype() == to {
        return Ok(tensor.clone());
    }
    let def = by_name("Cast").ok_or_else(|| Refusal::new("the operator table has no Cast"))?;
    let attrs = def.check_attrs(&cast_to(to)).map_err(|error| Refusal(error.to_string()))?;
    apply(def, &attrs, &[Some(tensor.view())])
}

fn apply(def: &OpDef, attrs: &Attrs, inputs: &[Option<TensorView<'_>>]) -> Result<Tensor, Refusal> {
    let results = (def.eval)(&EvalCtx { attrs, inputs, outputs: 1 });
    let mut results = results.map_err(|error| Refusal(error.to_string()))?;
    results.pop().ok_or_else(|| Refusal::new("it gives nothing"))
}

/// What a value is as a form with `rank` axes: constants of one element and sizes are forms, too.
pub fn form_of(value: &Value, rank: usize) -> Result<Form, Refusal> {
    let own = value.ty.shape.len();
    let form = match &value.what {
        What::Grid(form) => form.clone(),
        What::Size if value.is_one_element() => {
            let size = value.sym.as_ref().and_then(|sym| linear_size(sym.elements.first()?));
            let (c, s) =
                size.ok_or_else(|| Refusal::new("a size is not linear in the number of positions"))?;
            Form::Linear(Linear { c, s, along: vec![0; own] })
        }
        What::Constant(_) if value.is_one_element() => {
            let tensor = value.tensor().ok_or_else(|| Refusal::new("a constant cannot be read"))?;
            Form::Same(tensor.reshaped(&[]))
        }
        _ => return Err(Refusal::new("positions meet what does not follow from them")),
    };
    let lead = rank.saturating_sub(own);
    let to: Vec<Option<usize>> = (0..own).map(|axis| Some(axis + lead)).collect();
    form.renumbered(&to, rank)
}

/// A form as a linear one, if it is made of integers.
fn linear_of(form: &Form, rank: usize) -> Option<Linear> {
    match form {
        Form::Linear(linear) => Some(linear.clone()),
        Form::Same(value) => {
            let c = *value.view().to_i64s()?.first()?;
            Some(Linear::constant(c, rank))
        }
        Form::Steps { .. } => None,
    }
}

/// An element-wise operator on positions, sizes and constants of one element.
pub fn elementwise(call: &Call<'_>) -> Result<Form, Refusal> {
    let rank = call.ty().shape.len();
    let mut forms = Vec::new();
    for input in &call.inputs {
        let input = input.as_ref().ok_or_else(|| Refusal::new("an input is absent"))?;
        forms.push(form_of(input, rank)?);
    }
    if forms.iter().all(|form| !matches!(form, Form::Linear(_))) {
        return by_pieces(call, &forms);
    }
    linear(call, &forms, rank)
}

/// Where no number depends on a coordinate but by steps.
fn by_pieces(call: &Call<'_>, forms: &[Form]) -> Result<Form, Refusal> {
    let mut axes = None;
    let mut starts = vec![i64::MIN];
    for form in forms {
        if let Form::Steps { query, key, pieces } = form {
            if axes.is_some_and(|found| found != (*query, *key)) {
                return Err(Refusal::new("masks over different axes meet"));
            }
            axes = Some((*query, *key));
            starts.extend(pieces.iter().map(|(from, _)| *from));
        }
    }
    starts.sort_unstable();
    starts.dedup();
    let at = |d: i64| -> Result<Tensor, Refusal> {
        let views: Vec<Option<TensorView<'_>>> = forms
            .iter()
            .map(|form| match form {
                Form::Same(value) => Some(value.view()),
                Form::Steps { pieces, .. } => Some(piece(pieces, d).view()),
                Form::Linear(_) => None,
            })
            .collect();
        apply(call.def, &call.node.attrs, &views)
    };
    let Some((query, key)) = axes else { return Ok(Form::Same(at(0)?)) };
    let pieces = starts.into_iter().map(|from| Ok((from, at(from)?))).collect::<Result<_, Refusal>>()?;
    Ok(Form::Steps { query, key, pieces: merged(pieces) })
}

/// Where a number is linear in coordinates: arithmetic, comparisons, and choices that are the same everywhere.
fn linear(call: &Call<'_>, forms: &[Form], rank: usize) -> Result<Form, Refusal> {
    let shape: &[DimExpr] = &call.ty().shape;
    let name = call.def.name;
    let out = || Refusal::new("a position is out of range");
    if name == "Where" {
        let Form::Same(condition) = &forms[0] else {
            return Err(Refusal::new("it chooses between positions by a mask"));
        };
        return Ok(forms[if condition.bytes()[0] != 0 { 1 } else { 2 }].clone());
    }
    let numbers: Option<Vec<Linear>> = forms.iter().map(|form| linear_of(form, rank)).collect();
    let numbers = numbers.ok_or_else(|| Refusal::new("positions meet numbers that are no integers"))?;
    let two = || match &numbers[..] {
        [a, b] => Ok((a, b)),
        _ => Err(Refusal::new("it has not two inputs")),
    };
    let difference = || two().and_then(|(a, b)| a.plus(b, -1).ok_or_else(out));
    let integer = |form: Option<Linear>| form.map(Form::Linear).ok_or_else(out);
    match name {
        // Types that hold every position exactly.
        "Cast" => match call.ty().dtype {
            DType::I64 | DType::I32 | DType::F32 | DType::F64 => Ok(Form::Linear(numbers[0].clone())),
            DType::Bool => numbers[0].compare(shape, |sign| sign != 0),
            _ => Err(Refusal::new("it rounds positions")),
        },
        "Neg" => integer(numbers[0].times(-1)),
        "Add" => two().and_then(|(a, b)| integer(a.plus(b, 1))),
        "Sub" => integer(Some(difference()?)),
        "Mul" => {
            let (a, b) = two()?;
            match (a.as_constant(), b.as_constant()) {
                (Some(factor), _) => integer(b.times(factor)),
                (_, Some(factor)) => integer(a.times(factor)),
                _ => Err(Refusal::new("it multiplies positions with positions")),
            }
        }
        "Div" => {
            let (a, b) = two()?;
            if b.as_constant() == Some(1) {
                integer(Some(a.clone()))
            } else {
                Err(Refusal::new("it divides positions"))
            }
        }
        "Min" | "Max" => {
            let (a, b) = two()?;
            let signs = difference()?.signs(shape);
            let first_is_less = match (signs.below, signs.above) {
                (_, false) => true,
                (false, _) => false,
                _ => return Err(Refusal::new("which is the lesser depends on positions")),
            };
            integer(Some(if first_is_less == (name == "Min") { a.clone() } else { b.clone() }))
        }
        "Equal" => difference()?.compare(shape, |sign| sign == 0),
        "Less" => difference()?.compare(shape, |sign| sign < 0),
        "LessOrEqual" => difference()?.compare(shape, |sign| sign <= 0),
        "Greater" => difference()?.compare(shape, |sign| sign > 0),
        "GreaterOrEqual" => difference()?.compare(shape, |sign| sign >= 0),
        _ => Err(Refusal(format!("{name} of positions is not followed"))),
    }
}

/// An element-wise operator on sizes of several elements, where each result is the same for every S.
pub fn sizes(call: &Call<'_>) -> Result<Option<Elements>, Refusal> {
    let [shape] = &call.ty().shape[..] else { return Ok(None) };
    let Some(count) = shape.as_extent() else { return Ok(None) };
    let elements = |value: &Value| -> Option<Vec<DimExpr>> {
        let of = match &value.sym {
            Some(sym) => sym.elements.clone(),
            None => value.tensor()?.view().to_i64s()?.into_iter().map(DimExpr::Const).collect(),
        };
        match of.len() {
            1 => Some(vec![of[0].clone(); count]),
            n => (n == count).then_some(of),
        }
    };
    if call.def.name == "Where" {
        let Some(condition) = call.input(0)?.tensor().filter(|t| t.len() == count) else { return Ok(None) };
        let (Some(a), Some(b)) = (elements(call.input(1)?), elements(call.input(2)?)) else {
            return Ok(None);
        };
        let chosen = condition.bytes().iter().zip(a.into_iter().zip(b));
        let chosen = chosen.map(|(c, (a, b))| if *c != 0 { a } else { b });
        return Ok(Some(Elements::Sizes(chosen.collect())));
    }
    let holds: fn(i64) -> bool = match call.def.name {
        "Equal" => |sign| sign == 0,
        "Less" => |sign| sign < 0,
        "Greater" => |sign| sign > 0,
        _ => return Ok(None),
    };
    let (Some(a), Some(b)) = (elements(call.input(0)?), elements(call.input(1)?)) else { return Ok(None) };
    let mut answers = Vec::new();
    for (a, b) in a.iter().zip(&b) {
        let (Some((c, s)), Some((d, t))) = (linear_size(a), linear_size(b)) else { return Ok(None) };
        let difference = Linear { c: c - d, s: s - t, along: Vec::new() };
        match difference.compare(&[], holds)? {
            Form::Same(answer) => answers.push(answer.bytes()[0] != 0),
            _ => return Ok(None),
        }
    }
    Ok(Some(Elements::Known(Tensor::from_bools(&[count], &answers))))
}

/// Sizes that were chosen, or what is known of them.
pub enum Elements {
    Sizes(Vec<DimExpr>),
    Known(Tensor),
}
