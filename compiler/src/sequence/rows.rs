//! Operators on values with one row a position.
//!
//! Each becomes an operator on `[S, ..]`: axes of extent 1 are left out, the positions come first, the others keep their order.

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dim::DimExpr;
use repops::dtype::DType;

use super::elements;
use super::grid::{Form, Linear, linear_size};
use super::positions::slice_bounds;
use super::view::{Extent, Factor, View};
use super::{Call, Known, Refusal, Value, Walk, What};
use crate::graph::{Constant, ValueId};

/// The axes of a result that rows keep, and which one the positions are.
struct Frame {
    rank: usize,
    rows: usize,
    /// Axes that are neither the positions nor of extent 1.
    kept: Vec<usize>,
    extents: Vec<Extent>,
}

impl Frame {
    /// Of a type, in which the positions must be the axis `rows`.
    fn of(shape: &[DimExpr], rows: usize) -> Result<Frame, Refusal> {
        let mut extents = Vec::new();
        for (axis, extent) in shape.iter().enumerate() {
            extents.push(match extent.as_extent() {
                _ if axis == rows && linear_size(extent) == Some((0, 1)) => Extent::Rows,
                Some(size) if axis != rows => Extent::Size(size),
                _ => return Err(Refusal(format!("axis {axis} of its result is {extent}"))),
            });
        }
        let kept = (0..shape.len())
            .filter(|&axis| !matches!(extents[axis], Extent::Rows | Extent::Size(1)))
            .collect();
        Ok(Frame { rank: shape.len(), rows, kept, extents })
    }

    fn view(&self, base: ValueId, dtype: DType) -> View {
        View::plain(base, dtype, &self.extents)
    }
}

impl Walk<'_> {
    pub(super) fn on_rows(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let name = call.def.name;
        if elements::is_elementwise(call.def) || name == "CastLike" {
            return self.elementwise_rows(call);
        }
        match name {
            "Identity" => {
                let view = self.only_rows(call)?;
                Ok(call.gives(What::Rows(view)))
            }
            "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => {
                let view = self.only_rows(call)?;
                let extents = extents_of(&call.ty().shape)?;
                Ok(call.gives(What::Rows(view.reshaped(&extents)?)))
            }
            "Transpose" => {
                let view = self.only_rows(call)?;
                let perm: Vec<usize> = match call.node.attrs.opt_ints("perm") {
                    Some(perm) => perm.iter().map(|&p| p as usize).collect(),
                    None => (0..view.rank()).rev().collect(),
                };
                Ok(call.gives(What::Rows(view.transposed(&perm))))
            }
            "Expand" => self.expand(call),
            "Slice" => self.slice(call),
            "Split" => self.split(call),
            "Concat" => self.concat(call),
            "Gather" => self.gather(call),
            "GatherElements" => self.gather_elements(call),
            "MatMul" => self.matmul(call),
            "Gemm" => self.gemm(call),
            "RMSNormalization" | "LayerNormalization" | "Softmax" | "LogSoftmax" => self.last_axis(call),
            "ReduceMean" | "ReduceSum" | "ReduceSumSquare" | "ReduceL2" | "ReduceMax" | "ReduceMin" => {
                self.reduce(call)
            }
            "RotaryEmbedding" => self.rotary(call),
            _ => Err(Refusal::new("rows of positions are not followed through it")),
        }
    }

    /// Input 0.
    pub(super) fn only_rows(&mut self, call: &Call<'_>) -> Result<View, Refusal> {
        let value = call.input(0)?.clone();
        self.rows_of(&value)?.ok_or_else(|| Refusal::new("its first input has no rows"))
    }

    /// A constant as an input; masks and sizes that are the same everywhere become one.
    pub(super) fn known(&mut self, value: &Value) -> Result<Known, Refusal> {
        match &value.what {
            What::Constant(known) => Ok(known.clone()),
            What::Grid(Form::Same(element)) => {
                let (id, data) = self.out.tensor(element);
                Ok(Known { id, data: Some(data), transpose_of: None })
            }
            _ => Err(Refusal::new("rows meet a size or a mask")),
        }
    }

    /// A constant in another shape of as many elements.
    pub(super) fn reshaped_constant(
        &mut self,
        known: &Known,
        from: &[usize],
        to: &[usize],
    ) -> Result<ValueId, Refusal> {
        if from == to {
            return Ok(known.id);
        }
        match &known.data {
            Some(data) => {
                let name = format!("{}#{}", data.name, self.out.graph.values.len());
                let constant =
                    Constant { name, dtype: data.dtype, shape: to.to_vec(), data: data.data.clone() };
                Ok(self.out.constant(&constant))
            }
            None => {
                let shape: Vec<i64> = to.iter().map(|&e| e as i64).collect();
                let shape = self.out.ints(&shape);
                self.out.node("Reshape", Attrs::new(), &[known.id, shape])
            }
        }
    }

    fn elementwise_rows(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let cast = call.def.name == "CastLike";
        let count = if cast { 1 } else { call.inputs.len() };
        let ty = call.ty().clone();
        let mut views: Vec<Option<View>> = Vec::new();
        for input in call.inputs.iter().take(count) {
            let input = input.clone();
            views.push(match input {
                Some(value) => self.rows_of(&value)?,
                None => None,
            });
        }
        let (op, attrs) = match cast {
            true => ("Cast", Attrs::new().with_int("to", i64::from(ty.dtype.code()))),
            false => (call.def.name, call.node.attrs.clone()),
        };
        let rank = ty.shape.len();
        let single =
            |value: &Value| value.is_one_element() || matches!(value.what, What::Grid(Form::Same(_)));
        let scalars = call
            .inputs
            .iter()
            .take(count)
            .zip(&views)
            .all(|(value, view)| view.is_some() || value.as_ref().is_none_or(single));
        // One value and scalars: as it lies.
        if let [view] = &views.iter().flatten().collect::<Vec<_>>()[..]
            && scalars
            && view.rank() == rank
        {
            let mut inputs = Vec::new();
            for (value, view) in call.inputs.iter().take(count).zip(&views) {
                inputs.push(match (value, view) {
                    (_, Some(view)) => Some(view.base),
                    (Some(value), None) => {
                        let known = self.known(value)?;
                        let from = known.data.as_ref().map_or(Vec::new(), |data| data.shape.clone());
                        Some(self.reshaped_constant(&known, &from, &[])?)
                    }
                    (None, None) => None,
                });
            }
            let base = self.out.nodes(op, attrs, &inputs, 1)?[0];
            return Ok(call.gives(What::Rows(View { base, dtype: ty.dtype, ..(*view).clone() })));
        }
        let mut rows = None;
        for view in views.iter().flatten() {
            let axis = view.rows_axis()? + rank - view.rank();
            if rows.is_some_and(|rows| rows != axis) {
                return Err(Refusal::new("it mixes rows of different positions"));
            }
            rows = Some(axis);
        }
        let rows = rows.ok_or_else(|| Refusal::new("positions meet numbers that are no rows"))?;
        let frame = Frame::of(&ty.shape, rows)?;
        let mut inputs = Vec::new();
        for (value, view) in call.inputs.iter().take(count).zip(&views) {
            inputs.push(match (value, view) {
                (_, Some(view)) => Some(self.framed(view, &frame)?),
                (Some(value), None) if single(value) => {
                    let known = self.known(value)?;
                    let from = known.data.as_ref().map_or(Vec::new(), |data| data.shape.clone());
                    Some(self.reshaped_constant(&known, &from, &[])?)
                }
                (Some(value), None) => Some(self.framed_constant(value, &frame)?),
                (None, None) => None,
            });
        }
        let base = self.out.nodes(op, attrs, &inputs, 1)?[0];
        Ok(call.gives(What::Rows(frame.view(base, ty.dtype))))
    }

    /// A value with an axis for each that the frame keeps.
    fn framed(&mut self, view: &View, frame: &Frame) -> Result<ValueId, Refusal> {
        let lead = frame.rank - view.rank();
        let repeats = |axis: usize| view.axes[axis].iter().all(|f| matches!(f, Factor::Copies(_)));
        let axes: Vec<Option<usize>> =
            frame.kept.iter().map(|&axis| axis.checked_sub(lead).filter(|&axis| !repeats(axis))).collect();
        self.out.gather(view, &axes)
    }

    fn framed_constant(&mut self, value: &Value, frame: &Frame) -> Result<ValueId, Refusal> {
        let extents = value.ty.extents().ok_or_else(|| Refusal::new("a constant's shape is not known"))?;
        let known = self.known(value)?;
        let lead = frame.rank - extents.len();
        if let Some(at) = frame.rows.checked_sub(lead)
            && extents[at] != 1
        {
            return Err(Refusal::new("a constant has an element for each position"));
        }
        let of = |axis: &usize| axis.checked_sub(lead).map_or(1, |axis| extents[axis]);
        let mut shape: Vec<usize> = frame.kept.iter().map(of).collect();
        let leading = shape.iter().take_while(|&&extent| extent == 1).count();
        shape.drain(..leading);
        self.reshaped_constant(&known, &extents, &shape)
    }

    fn expand(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let view = self.only_rows(call)?;
        let rank = call.ty().shape.len();
        let lead = rank - view.rank();
        let mut axes = Vec::new();
        for (axis, extent) in call.ty().shape.iter().enumerate() {
            let own = axis.checked_sub(lead);
            if own.is_some_and(|own| view.is_rows(own)) {
                axes.push(vec![Factor::Rows]);
                continue;
            }
            let has = own.map_or(1, |own| view.extent(own));
            let size =
                extent.as_extent().ok_or_else(|| Refusal::new("it repeats rows for every position"))?;
            axes.push(match own {
                Some(own) if has == size => view.axes[own].clone(),
                _ if size == 1 => Vec::new(),
                _ => vec![Factor::Copies(size)],
            });
        }
        Ok(call.gives(What::Rows(view.with_axes(axes))))
    }

    /// Elements `from..to` of an axis, by `step`.
    fn cut(&mut self, view: &View, axis: usize, from: i64, to: i64, step: i64) -> Result<ValueId, Refusal> {
        let frame = frame_of(view)?;
        let at = frame.kept.iter().position(|&kept| kept == axis);
        let at = at.ok_or_else(|| Refusal::new("it cuts an axis of one element"))?;
        let x = self.framed(view, &frame)?;
        let [from, to, at, step] = [from, to, at as i64 + 1, step].map(|v| self.out.ints(&[v]));
        self.out.node("Slice", Attrs::new(), &[x, from, to, at, step])
    }

    fn slice(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let mut view = self.only_rows(call)?;
        let ends = call.input(2)?.clone();
        let bounds = slice_bounds(call)?;
        for (number, (axis, start, step)) in bounds.into_iter().enumerate() {
            let extent = &call.ty().shape[axis];
            if view.is_rows(axis) {
                if step != 1 || linear_size(extent) != Some((0, 1)) {
                    return Err(Refusal::new("it picks among positions"));
                }
                continue;
            }
            let size = extent.as_extent().ok_or_else(|| Refusal::new("what it cuts out is not known"))?;
            if size == view.extent(axis) && step == 1 {
                continue;
            }
            let from = start.as_const().ok_or_else(|| Refusal::new("where it starts is not known"))?;
            let to = match &ends.sym {
                Some(sym) => sym.elements.get(number).and_then(DimExpr::as_const),
                None => ends.tensor().and_then(|t| t.view().to_i64s()?.get(number).copied()),
            };
            let to = to.ok_or_else(|| Refusal::new("where it ends is not known"))?;
            let base = self.cut(&view, axis, from, to, step)?;
            let mut extents = view_extents(&view);
            extents[axis] = Extent::Size(size);
            view = plain_kept(base, view.dtype, &extents, axis);
        }
        Ok(call.gives(What::Rows(view)))
    }

    fn split(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let view = self.only_rows(call)?;
        let axis = call.axis(call.node.attrs.int("axis"), view.rank())?;
        if view.is_rows(axis) {
            return Err(Refusal::new("it splits positions"));
        }
        let mut parts = Vec::new();
        let mut from = 0;
        for (ty, _) in &call.types {
            let size = ty.shape[axis].as_extent().ok_or_else(|| Refusal::new("its parts are not known"))?;
            let base = self.cut(&view, axis, from as i64, (from + size) as i64, 1)?;
            let mut extents = view_extents(&view);
            extents[axis] = Extent::Size(size);
            parts.push(What::Rows(plain_kept(base, view.dtype, &extents, axis)));
            from += size;
        }
        Ok(call.gives_all(parts))
    }

    fn concat(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let rank = call.ty().shape.len();
        let axis = call.axis(call.node.attrs.int("axis"), rank)?;
        let parts: Vec<Value> =
            call.inputs.iter().flatten().filter(|value| !value.is_empty()).cloned().collect();
        let mut views = Vec::new();
        for part in &parts {
            let view = self.rows_of(part)?.ok_or_else(|| Refusal::new("it joins rows and constants"))?;
            views.push(view);
        }
        if let [one] = &views[..] {
            return Ok(call.gives(What::Rows(one.clone())));
        }
        let rows = views.first().ok_or_else(|| Refusal::new("it joins nothing"))?.rows_axis()?;
        if rows == axis || views.iter().any(|view| view.rows_axis().ok() != Some(rows)) {
            return Err(Refusal::new("it joins positions"));
        }
        let mut frame = Frame::of(&call.ty().shape, rows)?;
        if !frame.kept.contains(&axis) {
            return Err(Refusal::new("it joins axes of no elements"));
        }
        frame.kept.sort_unstable();
        let at = frame.kept.iter().position(|&kept| kept == axis).unwrap_or(0);
        let mut inputs = Vec::new();
        for view in &views {
            let axes: Vec<Option<usize>> = frame.kept.iter().map(|&axis| Some(axis)).collect();
            inputs.push(Some(self.out.gather(view, &axes)?));
        }
        let attrs = Attrs::new().with_int("axis", at as i64 + 1);
        let base = self.out.nodes("Concat", attrs, &inputs, 1)?[0];
        Ok(call.gives(What::Rows(frame.view(base, call.ty().dtype))))
    }

    fn gather(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let (data, index) = (call.input(0)?.clone(), call.input(1)?.clone());
        let rank = data.ty.shape.len();
        let axis = call.axis(call.node.attrs.int("axis"), rank)?;
        let dtype = data.ty.dtype;
        if let What::Constant(table) = &data.what {
            let view = self.rows_of(&index)?.ok_or_else(|| Refusal::new("its index has no rows"))?;
            let rows = view.rows_axis()?;
            if axis != 0 || view_extents(&view).iter().any(|e| !matches!(e, Extent::Rows | Extent::Size(1))) {
                return Err(Refusal::new("it takes several elements a position"));
            }
            let frame = Frame::of(&call.ty().shape, rows)?;
            let at = self.out.gather(&view, &[])?;
            let base = if at == self.out.tokens && rank == 2 && dtype == DType::F32 {
                let columns = data.ty.shape[0].as_const().unwrap_or(0);
                let attrs = Attrs::new()
                    .with_str("format", "dense")
                    .with_int("columns", columns)
                    .with_int("transposed", 1);
                self.out.node("Embedding", attrs, &[at, table.id])?
            } else {
                let whole = self.out.node("Gather", Attrs::new().with_int("axis", 0), &[table.id, at])?;
                // Axes of extent 1 go.
                let shape: Vec<usize> =
                    call.ty().shape[view.rank()..].iter().filter_map(DimExpr::as_extent).collect();
                let kept = View { base: whole, shape, dtype, axes: Vec::new() };
                kept.base
            };
            let mut found = frame.view(base, dtype);
            // What the table's own axes of extent 1 add to the base's shape.
            found.shape = data.ty.shape[1..].iter().filter_map(DimExpr::as_extent).collect();
            return Ok(call.gives(What::Rows(found)));
        }
        let view = self.only_rows(call)?;
        let at = index.ints().filter(|at| at.len() == 1).map(|at| at[0]);
        let (Some(at), false) = (at, view.is_rows(axis)) else {
            return Err(Refusal::new("it picks among positions"));
        };
        let extent = view.extent(axis) as i64;
        let at = if at < 0 { at + extent } else { at };
        if extent == 1 {
            let extents = extents_of(&call.ty().shape)?;
            return Ok(call.gives(What::Rows(view.reshaped(&extents)?)));
        }
        let base = self.cut(&view, axis, at, at + 1, 1)?;
        let mut extents = view_extents(&view);
        extents[axis] = Extent::Size(1);
        let cut = plain_kept(base, dtype, &extents, axis);
        let extents = extents_of(&call.ty().shape)?;
        Ok(call.gives(What::Rows(cut.reshaped(&extents)?)))
    }

    /// An index that is the coordinate itself changes nothing.
    fn gather_elements(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let view = self.only_rows(call)?;
        let axis = call.axis(call.node.attrs.int("axis"), view.rank())?;
        let mut along = vec![0; view.rank()];
        along[axis] = 1;
        let whole = Linear { c: 0, s: 0, along };
        let index = call.input(1)?;
        let shapes = call.ty().shape.iter().zip(&call.input(0)?.ty.shape);
        let same = shapes.clone().all(|(a, b)| a.provably_equals(b));
        match &index.what {
            What::Grid(Form::Linear(linear)) if *linear == whole && same => Ok(call.gives(What::Rows(view))),
            _ => Err(Refusal::new("it picks among positions")),
        }
    }

    /// An operator along the last axis.
    fn last_axis(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let view = self.only_rows(call)?;
        let is_last = call.axis(call.node.attrs.int("axis"), view.rank())? + 1 == view.rank();
        let (view, merged) = view.unmerged();
        let last = view.rank() - 1;
        if !is_last || view.is_rows(last) || merged.is_some_and(|at| at + 1 == last) {
            return Err(Refusal::new("it is not along the last axis, or along the positions"));
        }
        let mut frame = frame_of(&view)?;
        if !frame.kept.contains(&last) {
            return Err(Refusal::new("its last axis has one element"));
        }
        frame.kept.sort_unstable();
        let mut inputs = vec![Some(self.framed(&view, &frame)?)];
        for value in call.inputs.iter().skip(1) {
            let Some(value) = value.clone() else {
                inputs.push(None);
                continue;
            };
            let extents = value.ty.extents().unwrap_or_default();
            if extents.iter().rev().skip(1).any(|&extent| extent != 1) {
                return Err(Refusal::new("its scale differs along other axes"));
            }
            let known = self.known(&value)?;
            let flat: Vec<usize> = extents.last().copied().into_iter().collect();
            inputs.push(Some(self.reshaped_constant(&known, &extents, &flat)?));
        }
        let attrs = call.node.attrs.clone().with_int("axis", -1);
        let base = self.out.nodes(call.def.name, attrs, &inputs, 1)?[0];
        let made = frame.view(base, call.ty().dtype);
        Ok(call.gives(What::Rows(merged.map_or(made.clone(), |at| made.merged(at)))))
    }

    fn reduce(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let view = self.only_rows(call)?;
        let axes = call.optional(1).and_then(Value::ints);
        let axes = axes.filter(|axes| !axes.is_empty());
        let axes = axes.ok_or_else(|| Refusal::new("it reduces all axes, or they are not known"))?;
        let mut reduced = Vec::new();
        for axis in axes {
            let axis = call.axis(axis, view.rank())?;
            if view.is_rows(axis) {
                return Err(Refusal::new("it reduces positions"));
            }
            reduced.push(axis);
        }
        let frame = frame_of(&view)?;
        let at: Vec<i64> = (0..frame.kept.len())
            .filter(|&at| reduced.contains(&frame.kept[at]))
            .map(|at| at as i64 + 1)
            .collect();
        if at.len() != reduced.len() {
            return Err(Refusal::new("it reduces axes of one element"));
        }
        let x = self.framed(&view, &frame)?;
        let axes = self.out.ints(&at);
        let attrs = call.node.attrs.clone().with_int("keepdims", 0);
        let base = self.out.node(call.def.name, attrs, &[x, axes])?;
        let extents = extents_of(&call.ty().shape)?;
        Ok(call.gives(What::Rows(View::plain(base, call.ty().dtype, &extents))))
    }
}

/// A shape of constants and one axis of positions.
pub(super) fn extents_of(shape: &[DimExpr]) -> Result<Vec<Extent>, Refusal> {
    let extent = |extent: &DimExpr| match (extent.as_extent(), linear_size(extent)) {
        (Some(size), _) => Ok(Extent::Size(size)),
        (None, Some((0, 1))) => Ok(Extent::Rows),
        (None, Some((0, times))) if times > 1 => Ok(Extent::RowsTimes(times as usize)),
        _ => Err(Refusal(format!("an axis of its result is {extent}, not the positions"))),
    };
    shape.iter().map(extent).collect()
}

pub(super) fn view_extents(view: &View) -> Vec<Extent> {
    (0..view.rank())
        .map(|axis| if view.is_rows(axis) { Extent::Rows } else { Extent::Size(view.extent(axis)) })
        .collect()
}

/// The frame of a view's own axes.
fn frame_of(view: &View) -> Result<Frame, Refusal> {
    let rows = view.rows_axis()?;
    let extents = view_extents(view);
    let kept =
        (0..view.rank()).filter(|&axis| !matches!(extents[axis], Extent::Rows | Extent::Size(1))).collect();
    Ok(Frame { rank: view.rank(), rows, kept, extents })
}

/// A base with an axis for each extent that is not 1, and for `axis`.
fn plain_kept(base: ValueId, dtype: DType, extents: &[Extent], axis: usize) -> View {
    let mut view = View::plain(base, dtype, extents);
    view.shape = extents
        .iter()
        .enumerate()
        .filter_map(|(at, extent)| match extent {
            Extent::Size(size) if *size != 1 || at == axis => Some(*size),
            _ => None,
        })
        .collect();
    view
}

impl View {
    /// A base of one axis beside the positions, whatever its extent.
    pub(super) fn plain_whole(base: ValueId, dtype: DType, extents: &[Extent]) -> View {
        let mut view = View::plain(base, dtype, extents);
        view.shape = vec![view.shape.iter().product()];
        view
    }

    /// A base whose last axis is there even where its extent is 1.
    pub(super) fn plain_last(base: ValueId, dtype: DType, extents: &[Extent]) -> View {
        plain_kept(base, dtype, extents, extents.len() - 1)
    }
}

/// One element of a tensor as f32.
pub(super) fn float_of(tensor: &Tensor) -> Option<f32> {
    let tensor = elements::converted(tensor, DType::F32).ok()?;
    (tensor.len() == 1).then(|| tensor.as_slice::<f32>()[0])
}
