//! Products of rows with matrices, and rotations of rows.

use repops::attrs::Attrs;
use repops::dtype::DType;

use super::rows::extents_of;
use super::view::{Extent, View};
use super::{Call, Refusal, Value, Walk, What};

impl Walk<'_> {
    pub(super) fn gemm(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let view = self.only_rows(call)?;
        let constant = |value: &Value| matches!(value.what, What::Constant(_));
        if call.node.attrs.int("transA") != 0
            || !view.is_rows(0)
            || !call.inputs.iter().skip(1).flatten().all(constant)
        {
            return Err(Refusal::new("it mixes rows"));
        }
        let x = self.out.gather(&view, &[Some(1)])?;
        let mut inputs = vec![Some(x)];
        for value in call.inputs.iter().skip(1) {
            let value = value.clone();
            inputs.push(value.map(|value| self.known(&value)).transpose()?.map(|known| known.id));
        }
        let base = self.out.nodes("Gemm", call.node.attrs.clone(), &inputs, 1)?[0];
        let extents = extents_of(&call.ty().shape)?;
        Ok(call.gives(What::Rows(View::plain_whole(base, call.ty().dtype, &extents))))
    }

    pub(super) fn matmul(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let (a, b) = (call.input(0)?.clone(), call.input(1)?.clone());
        let views = (self.rows_of(&a)?, self.rows_of(&b)?);
        let (shape, dtype) = (call.ty().shape.clone(), call.ty().dtype);
        match views {
            (Some(x), None) => {
                let What::Constant(w) = &b.what else { return Err(Refusal::new("rows meet a mask")) };
                let extents = b.ty.extents().unwrap_or_default();
                let [batch @ .., inner, columns] = &extents[..] else {
                    return Err(Refusal::new("its matrix has one axis"));
                };
                if batch.iter().any(|&extent| extent != 1) {
                    return Err(Refusal::new("it has a matrix for each head"));
                }
                let last = x.rank() - 1;
                let mut axes: Vec<Option<usize>> =
                    (0..last).filter(|&axis| !x.is_rows(axis) && x.extent(axis) != 1).map(Some).collect();
                axes.push(Some(last));
                let flat = axes.len() == 1;
                let left = self.out.gather(&x, &axes)?;
                let base = match w.transpose_of {
                    Some(matrix) if flat && extents.len() == 2 => {
                        self.out.node("Gemm", Attrs::new().with_int("transB", 1), &[left, matrix])?
                    }
                    _ => {
                        let right = self.reshaped_constant(w, &extents, &[*inner, *columns])?;
                        self.out.node("MatMul", Attrs::new(), &[left, right])?
                    }
                };
                let extents = extents_of(&shape)?;
                Ok(call.gives(What::Rows(View::plain_last(base, dtype, &extents))))
            }
            (None, Some(x)) => {
                // A x^T = (x A^T)^T: the contraction is the same.
                let What::Constant(w) = &a.what else { return Err(Refusal::new("rows meet a mask")) };
                let extents = a.ty.extents().unwrap_or_default();
                let [batch @ .., rows, inner] = &extents[..] else {
                    return Err(Refusal::new("its matrix has one axis"));
                };
                let (last, rank) = (x.rank() - 1, x.rank());
                let other = |axis: usize| axis + 2 < rank && x.extent(axis) != 1;
                if batch.iter().any(|&e| e != 1) || !x.is_rows(last) || rank < 2 || (0..last).any(other) {
                    return Err(Refusal::new("it mixes rows"));
                }
                let left = self.out.gather(&x, &[Some(last - 1)])?;
                let matrix = self.reshaped_constant(w, &extents, &[*rows, *inner])?;
                let matrix =
                    self.out.node("Transpose", Attrs::new().with_ints("perm", &[1, 0]), &[matrix])?;
                let base = self.out.node("MatMul", Attrs::new(), &[left, matrix])?;
                let extents = extents_of(&shape)?;
                let mut view = View::plain(base, dtype, &extents);
                view.shape = vec![*rows];
                Ok(call.gives(What::Rows(view)))
            }
            (Some(q), Some(k)) => self.scores(call, q, k),
            (None, None) => Err(Refusal::new("positions meet numbers that are no rows")),
        }
    }

    pub(super) fn rotary(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Refusal> {
        let view = self.only_rows(call)?;
        let (heads, d) = match view.rank() {
            4 => (view.extent(1), view.extent(3)),
            3 => {
                let heads = usize::try_from(call.node.attrs.int("num_heads")).unwrap_or(0).max(1);
                (heads, view.extent(2) / heads)
            }
            _ => return Err(Refusal::new("its input has not three or four axes")),
        };
        let dtype = call.ty().dtype;
        if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(Refusal(format!(
                "its type is {dtype}; rotations of f32, f16 and bf16 are converted"
            )));
        }
        let x = match view.rank() {
            4 => self.out.gather(&view, &[Some(1), Some(3)])?,
            _ => self.out.gather(&view, &[Some(2)])?,
        };
        let x = if view.rank() == 4 {
            let shape = self.out.ints(&[0, (heads * d) as i64]);
            self.out.node("Reshape", Attrs::new(), &[x, shape])?
        } else {
            x
        };
        let mut angles = Vec::new();
        for index in [1, 2] {
            let table = call.input(index)?.clone();
            angles.push(match (&table.what, call.optional(3)) {
                (What::Constant(table), Some(positions)) => {
                    let positions = positions.clone();
                    let at = self.rows_of(&positions)?;
                    let at = at.ok_or_else(|| Refusal::new("its positions are not one each"))?;
                    let at = self.out.gather(&at, &[])?;
                    self.out.node("Gather", Attrs::new().with_int("axis", 0), &[table.id, at])?
                }
                (What::Rows(rows), None) => {
                    let rows = rows.clone();
                    self.out.gather(&rows, &[Some(rows.rank() - 1)])?
                }
                _ => return Err(Refusal::new("its angles are neither a table nor rows")),
            });
        }
        let attrs = Attrs::new()
            .with_int("heads", heads as i64)
            .with_int("interleaved", call.node.attrs.int("interleaved"));
        let mut wide = Vec::new();
        for id in [x, angles[0], angles[1]] {
            wide.push(self.out.in_type(id, dtype, DType::F32)?);
        }
        let base = self.out.node("SequenceRotary", attrs, &wide)?;
        let base = self.out.in_type(base, DType::F32, dtype)?;
        let flat = View::plain_whole(base, dtype, &[Extent::Rows, Extent::Size(heads * d)]);
        let four = [Extent::Size(1), Extent::Rows, Extent::Size(heads), Extent::Size(d)];
        let turned = match view.rank() {
            4 => flat.reshaped(&four)?.transposed(&[0, 2, 1, 3]),
            _ => flat.reshaped(&[Extent::Size(1), Extent::Rows, Extent::Size(heads * d)])?,
        };
        Ok(call.gives(What::Rows(turned)))
    }
}
