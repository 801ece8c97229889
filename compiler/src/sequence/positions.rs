//! Operators on what follows from positions alone: movements, ranges, sums.

use repops::Tensor;
use repops::dim::DimExpr;
use repops::ops::SymTensor;

use super::elements::{self, Elements, form_of};
use super::grid::{Form, Linear, linear_size, merged, piece};
use super::{Call, Refusal, Value, Walk, What};

impl Walk<'_> {
    /// No input has rows.
    pub(super) fn on_positions(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        if elements::is_elementwise(call.def) {
            let grids = call.inputs.iter().flatten().any(|value| matches!(value.what, What::Grid(_)));
            if !grids && let Some(found) = elements::sizes(call)? {
                return Ok(vec![match found {
                    Elements::Sizes(elements) => {
                        self.size(call.ty().clone(), Some(SymTensor::vector(elements)))
                    }
                    Elements::Known(tensor) => self.constant(&tensor),
                }]);
            }
            let form = elements::elementwise(call)?;
            return Ok(self.settled(call, form));
        }
        let form = match form_moved(call) {
            // Indices in pairs, which only what is the same everywhere is read by.
            Err(_) if call.def.name == "Concat" => {
                return Ok(call.gives(What::Other("it reads positions that were joined")));
            }
            form => form?,
        };
        Ok(self.settled(call, form))
    }

    /// What has a fixed shape and the same elements everywhere is a constant; one integer is a size.
    fn settled(&mut self, call: &Call<'_>, form: Form) -> Vec<Value> {
        let ty = call.ty();
        let value = call.gives(What::Grid(form.clone())).remove(0);
        match form {
            Form::Same(element) if value.is_one_element() => {
                let shape: Vec<usize> = vec![1; ty.shape.len()];
                vec![self.constant(&element.reshaped(&shape))]
            }
            Form::Linear(linear) if value.is_one_element() && ty.shape.len() <= 1 => {
                let size = DimExpr::from(linear.s).mul(&super::positions_dim()).add(&DimExpr::from(linear.c));
                let sym = match ty.shape.len() {
                    0 => SymTensor::scalar(size),
                    _ => SymTensor::vector(vec![size]),
                };
                let whole = matches!(ty.dtype, repops::DType::I64 | repops::DType::I32);
                if whole { vec![self.size(ty.clone(), Some(sym))] } else { vec![value] }
            }
            _ => vec![value],
        }
    }
}

fn form_moved(call: &Call<'_>) -> Result<Form, Refusal> {
    let rank = call.ty().shape.len();
    let first = call.optional(0);
    let form = |value: &Value| form_of(value, value.ty.shape.len());
    match call.def.name {
        "Identity" | "CastLike" => form(call.input(0)?),
        "Range" => {
            let [start, _, step] = [call.input(0)?, call.input(1)?, call.input(2)?];
            if step.ints().as_deref() != Some(&[1]) {
                return Err(Refusal::new("its step is not 1"));
            }
            let start = match form(start)? {
                Form::Linear(linear) => linear,
                Form::Same(value) => {
                    let c = value.view().to_i64s().and_then(|v| v.first().copied());
                    Linear::constant(c.ok_or_else(|| Refusal::new("it does not count whole numbers"))?, 0)
                }
                Form::Steps { .. } => return Err(Refusal::new("it starts at a mask")),
            };
            Ok(Form::Linear(Linear { along: vec![1], ..start }))
        }
        "ConstantOfShape" => match call.optional(1) {
            Some(value) => form_of(value, 0),
            None => Ok(Form::Same(Tensor::scalar(0.0f32))),
        },
        "Unsqueeze" | "Squeeze" | "Reshape" | "Flatten" => {
            let value = call.input(0)?;
            let form = form(value)?;
            if matches!(form, Form::Same(_)) {
                return Ok(form);
            }
            // Axes of extent 1 come and go, the others keep their order.
            let long = |shape: &[DimExpr]| -> Vec<usize> {
                (0..shape.len()).filter(|&axis| shape[axis].as_const() != Some(1)).collect()
            };
            let (from, to) = (long(&value.ty.shape), long(&call.ty().shape));
            let same = from.len() == to.len()
                && from
                    .iter()
                    .zip(&to)
                    .all(|(&a, &b)| value.ty.shape[a].provably_equals(&call.ty().shape[b]));
            if !same {
                return Err(Refusal::new("it mixes positions with other axes"));
            }
            let mut map = vec![None; value.ty.shape.len()];
            for (a, b) in from.into_iter().zip(to) {
                map[a] = Some(b);
            }
            form.renumbered(&map, rank)
        }
        "Transpose" => {
            let value = call.input(0)?;
            let own = value.ty.shape.len();
            let perm: Vec<usize> = match call.node.attrs.opt_ints("perm") {
                Some(perm) => perm.iter().map(|&p| p as usize).collect(),
                None => (0..own).rev().collect(),
            };
            let map: Vec<Option<usize>> = (0..own).map(|axis| perm.iter().position(|&p| p == axis)).collect();
            form(value)?.renumbered(&map, rank)
        }
        "Expand" | "Tile" => {
            let value = call.input(0)?;
            let own = value.ty.shape.len();
            let form = form(value)?;
            if call.def.name == "Tile" && !matches!(form, Form::Same(_)) {
                return Err(Refusal::new("it repeats positions"));
            }
            let map: Vec<Option<usize>> = (0..own).map(|axis| Some(axis + rank - own)).collect();
            form.renumbered(&map, rank)
        }
        "Trilu" => trilu(call, form(call.input(0)?)?),
        "CumSum" => {
            let value = call.input(0)?;
            let one = same_integer(&form(value)?)?;
            let axis = call.input(1)?.ints().and_then(|v| v.first().copied());
            let axis = call.axis(axis.ok_or_else(|| Refusal::new("its axis is not known"))?, rank)?;
            if call.node.attrs.int("reverse") != 0 {
                return Err(Refusal::new("it counts backwards"));
            }
            let mut along = vec![0; rank];
            along[axis] = one;
            let first = if call.node.attrs.int("exclusive") != 0 { 0 } else { one };
            Ok(Form::Linear(Linear { c: first, s: 0, along }))
        }
        "ReduceSum" => {
            let value = call.input(0)?;
            let one = same_integer(&form(value)?)?;
            let own = value.ty.shape.len();
            let axes = match call.optional(1) {
                None => (0..own as i64).collect(),
                Some(axes) => axes.ints().ok_or_else(|| Refusal::new("its axes are not known"))?,
            };
            let mut count = DimExpr::Const(one);
            for axis in axes {
                count = count.mul(&value.ty.shape[call.axis(axis, own)?]);
            }
            let (c, s) = linear_size(&count).ok_or_else(|| Refusal::new("it counts more than positions"))?;
            Ok(Form::Linear(Linear { c, s, along: vec![0; rank] }))
        }
        "ReduceMax" | "ReduceMin" => same(form(call.input(0)?)?),
        "Gather" if first.is_some() => gathered(call, form(call.input(0)?)?),
        "GatherND" | "GatherElements" => same(form(call.input(0)?)?),
        "Slice" => sliced(call, form(call.input(0)?)?),
        "Concat" => {
            let mut parts = call.inputs.iter().flatten().filter(|value| !value.is_empty());
            let one = parts.next().ok_or_else(|| Refusal::new("it joins nothing"))?;
            let of_one = form(one)?;
            for other in parts {
                match (&of_one, form(other)?) {
                    (Form::Same(a), Form::Same(b)) if a.bytes() == b.bytes() => {}
                    _ => return Err(Refusal::new("it joins positions that are not the same")),
                }
            }
            Ok(of_one)
        }
        other => Err(Refusal(format!("{other} of positions is not followed"))),
    }
}

fn same(form: Form) -> Result<Form, Refusal> {
    match form {
        Form::Same(_) => Ok(form),
        _ => Err(Refusal::new("it picks among positions")),
    }
}

fn same_integer(form: &Form) -> Result<i64, Refusal> {
    let number = match form {
        Form::Same(value) => value.view().to_i64s().and_then(|v| v.first().copied()),
        Form::Linear(linear) => linear.as_constant(),
        Form::Steps { .. } => None,
    };
    number.ok_or_else(|| Refusal::new("it adds up what is not the same everywhere"))
}

/// The lower or upper triangle of the last two axes, the rest becoming 0.
fn trilu(call: &Call<'_>, form: Form) -> Result<Form, Refusal> {
    let rank = call.ty().shape.len();
    let (query, key) = (rank - 2, rank - 1);
    let diagonal = match call.optional(1) {
        None => 0,
        Some(k) => *k
            .ints()
            .as_deref()
            .and_then(<[i64]>::first)
            .ok_or_else(|| Refusal::new("its diagonal is not known"))?,
    };
    let upper = call.node.attrs.int("upper") != 0;
    let pieces = match form {
        Form::Same(value) => vec![(i64::MIN, value)],
        Form::Steps { query: q, key: k, pieces } if (q, k) == (query, key) => pieces,
        _ => return Err(Refusal::new("it cuts positions")),
    };
    let zero = Tensor::zeros(call.ty().dtype, &[]).map_err(|error| Refusal(error.to_string()))?;
    // Column - row = -d; upper keeps it from `diagonal` on, lower up to it.
    let far = || Refusal::new("its diagonal is out of range");
    let edge = diagonal.checked_neg().ok_or_else(far)?;
    let turn = if upper { edge.checked_add(1).ok_or_else(far)? } else { edge };
    let kept = |d: i64| if upper { d < turn } else { d >= turn };
    let mut starts: Vec<i64> = pieces.iter().map(|(from, _)| *from).chain([turn]).collect();
    starts.sort_unstable();
    starts.dedup();
    let cut = |d: i64| if kept(d) { piece(&pieces, d).clone() } else { zero.clone() };
    let pieces = merged(starts.into_iter().map(|d| (d, cut(d))).collect());
    Ok(Form::Steps { query, key, pieces })
}

fn gathered(call: &Call<'_>, form: Form) -> Result<Form, Refusal> {
    if matches!(form, Form::Same(_)) {
        return Ok(form);
    }
    let value = call.input(0)?;
    let own = value.ty.shape.len();
    let axis = call.axis(call.node.attrs.int("axis"), own)?;
    let index = call.input(1)?;
    // The one element of an axis; the axis goes, or stays one.
    let one = value.ty.shape[axis].as_const() == Some(1) && index.is_one_element();
    if !one {
        return Err(Refusal::new("it picks among positions"));
    }
    let index_rank = index.ty.shape.len();
    let map: Vec<Option<usize>> = (0..own)
        .map(|a| match a.cmp(&axis) {
            std::cmp::Ordering::Less => Some(a),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(a - 1 + index_rank),
        })
        .collect();
    form.renumbered(&map, call.ty().shape.len())
}

/// Starts, ends, axes and steps of a Slice as they are given: sizes and constants.
pub(super) fn slice_bounds(call: &Call<'_>) -> Result<Vec<(usize, DimExpr, i64)>, Refusal> {
    let rank = call.input(0)?.ty.shape.len();
    let elements = |value: &Value| -> Option<Vec<DimExpr>> {
        match &value.sym {
            Some(sym) => Some(sym.elements.clone()),
            None => Some(value.tensor()?.view().to_i64s()?.into_iter().map(DimExpr::Const).collect()),
        }
    };
    let unknown = || Refusal::new("what it cuts out is not known");
    let starts = elements(call.input(1)?).ok_or_else(unknown)?;
    let axes = match call.optional(3) {
        Some(axes) => axes.ints().ok_or_else(unknown)?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match call.optional(4) {
        Some(steps) => steps.ints().ok_or_else(unknown)?,
        None => vec![1; starts.len()],
    };
    let mut out = Vec::new();
    for ((axis, start), step) in axes.into_iter().zip(starts).zip(steps) {
        out.push((call.axis(axis, rank)?, start, step));
    }
    Ok(out)
}

fn sliced(call: &Call<'_>, mut form: Form) -> Result<Form, Refusal> {
    if matches!(form, Form::Same(_)) {
        return Ok(form);
    }
    let shape = &call.input(0)?.ty.shape;
    for (axis, start, step) in slice_bounds(call)? {
        if step != 1 {
            return Err(Refusal::new("it leaves positions out"));
        }
        if call.ty().shape[axis].provably_equals(&shape[axis]) {
            continue;
        }
        match &mut form {
            Form::Linear(linear) if linear.along[axis] == 0 => {}
            Form::Linear(linear) => {
                let from = linear_size(&start).filter(|(c, s)| *c >= 0 && *s >= 0);
                let (c, s) = from.ok_or_else(|| Refusal::new("where it starts is not known"))?;
                let a = linear.along[axis];
                let far = || Refusal::new("a position is out of range");
                linear.c = a.checked_mul(c).and_then(|m| linear.c.checked_add(m)).ok_or_else(far)?;
                linear.s = a.checked_mul(s).and_then(|m| linear.s.checked_add(m)).ok_or_else(far)?;
            }
            Form::Steps { query, key, .. } if axis != *query && axis != *key => {}
            _ => return Err(Refusal::new("it cuts a mask")),
        }
    }
    Ok(form)
}
