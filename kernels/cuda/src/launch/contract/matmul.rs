//! MatMul.

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;

use super::product::{Cut, Finish, Matrix, Place, Product};
use super::products;
use crate::Error;
use crate::device::{Device, Operand, View};
use crate::table::{Call, InputType, Launch};

/// The launch for the operands' types.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let (a, b) = (inputs.first()?.as_ref()?, inputs.get(1)?.as_ref()?);
    let is_ready = takes(a.dtype, b.dtype, b.layout) && Batches::of(a.shape, b.shape, b.layout).is_some();
    is_ready.then_some(launch::<D>)
}

/// An f32 left operand may have a narrower right one. Panels are of floats of 32 and 16 bits.
pub(super) fn takes(a: DType, b: DType, layout: Layout) -> bool {
    match (a, b) {
        (DType::F32, DType::F32 | DType::F16 | DType::BF16)
        | (DType::F16, DType::F16)
        | (DType::BF16, DType::BF16) => true,
        _ => a == b && products::kernel(a).is_some() && layout == Layout::RowMajor,
    }
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    launch_cut(device, call, None)
}

/// MatMul, cut in a given way.
pub fn launch_cut<D: Device>(device: &D, call: &Call<'_, D::Buffer>, cut: Option<Cut>) -> Result<(), Error> {
    matmul(device, call.input(0)?.view, call.input(1)?, call.output(0)?, cut)
}

/// `out = a x b` with numpy's broadcasting of leading axes; `a` row-major, `b` in either layout.
pub fn matmul<D: Device>(
    device: &D,
    a: View<'_, D::Buffer>,
    b: Operand<'_, D::Buffer>,
    out: View<'_, D::Buffer>,
    cut: Option<Cut>,
) -> Result<(), Error> {
    let Some(mut batches) = Batches::of(a.shape, b.view.shape, b.layout) else {
        return Err(Error::unsupported("a batch with more than three axes"));
    };
    batches.fold_rows();
    let Batches { extents, a_strides, b_strides, m, n, k } = batches;
    let place = match b.layout {
        Layout::Panel16 => Place::Panels,
        Layout::RowMajor => Place::Outers { stride: n },
        Layout::Filters16 | Layout::Groups4 => {
            return Err(Error::unsupported("a matrix in blocks of filters or groups of bytes"));
        }
    };
    let product = Product {
        a: Matrix { view: a, place: Place::Terms { stride: k }, batch: a_strides },
        b: Matrix { view: b.view, place, batch: b_strides },
        out,
        finish: Finish::NOTHING,
        batch: extents,
        m,
        n,
        k,
    };
    product.launch_cut(device, cut)
}

/// Leading axes, merged into at most three.
pub(super) struct Batches {
    pub extents: [usize; 3],
    /// Elements between matrices along each axis; 0 where the operand repeats.
    pub a_strides: [usize; 3],
    pub b_strides: [usize; 3],
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Batches {
    /// `None` where three axes are too few, or an operand has none.
    pub fn of(a: &[usize], b: &[usize], layout: Layout) -> Option<Batches> {
        // One-axis operands are a row and a column.
        let (m, k) = if a.len() > 1 { (a[a.len() - 2], a[a.len() - 1]) } else { (1, *a.first()?) };
        let n = if b.len() > 1 { b[b.len() - 1] } else { b.first().map(|_| 1)? };
        let b_matrix = if layout == Layout::Panel16 { k * n.next_multiple_of(16) } else { k * n };
        let a_lead = &a[..a.len().saturating_sub(2)];
        let b_lead = &b[..b.len().saturating_sub(2)];
        let rank = a_lead.len().max(b_lead.len());
        let extent =
            |lead: &[usize], axis: usize| (axis + lead.len()).checked_sub(rank).map_or(1, |at| lead[at]);

        // From the last axis on: (extent, stride of a, stride of b), neighbours merged where both go on as one.
        let mut axes: Vec<(usize, usize, usize)> = Vec::new();
        let (mut a_next, mut b_next) = (m * k, b_matrix);
        for axis in (0..rank).rev() {
            let (a_extent, b_extent) = (extent(a_lead, axis), extent(b_lead, axis));
            let common = if a_extent == 1 { b_extent } else { a_extent };
            let a_stride = if a_extent == 1 { 0 } else { a_next };
            let b_stride = if b_extent == 1 { 0 } else { b_next };
            a_next *= a_extent;
            b_next *= b_extent;
            if common == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((last, a_last, b_last))
                    if a_stride == *a_last * *last && b_stride == *b_last * *last =>
                {
                    *last *= common;
                }
                _ => axes.push((common, a_stride, b_stride)),
            }
        }
        if axes.len() > 3 {
            return None;
        }
        let mut batches = Batches { extents: [1; 3], a_strides: [0; 3], b_strides: [0; 3], m, n, k };
        for (at, (extent, a_stride, b_stride)) in axes.into_iter().enumerate() {
            batches.extents[2 - at] = extent;
            batches.a_strides[2 - at] = a_stride;
            batches.b_strides[2 - at] = b_stride;
        }
        Some(batches)
    }

    /// One right operand for all: the left operand's matrices are further rows.
    pub fn fold_rows(&mut self) {
        let [.., extent] = self.extents;
        let follows = self.a_strides[2] == self.m * self.k || extent == 1;
        if self.extents[..2] == [1, 1] && self.b_strides[2] == 0 && follows {
            self.m *= extent;
            self.extents = [1; 3];
            self.a_strides = [0; 3];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge_where_both_operands_go_on() {
        let batches = Batches::of(&[2, 3, 4, 5], &[2, 3, 5, 6], Layout::RowMajor).unwrap();
        assert_eq!(batches.extents, [1, 1, 6]);
        assert_eq!((batches.a_strides[2], batches.b_strides[2]), (20, 30));
        let batches = Batches::of(&[2, 3, 4, 5], &[3, 5, 6], Layout::RowMajor).unwrap();
        assert_eq!(batches.extents, [1, 2, 3]);
        assert_eq!((batches.a_strides, batches.b_strides), ([0, 60, 20], [0, 0, 30]));
        let mut batches = Batches::of(&[2, 3, 4, 5], &[5, 6], Layout::Panel16).unwrap();
        batches.fold_rows();
        assert_eq!((batches.extents, batches.m), ([1, 1, 1], 24));
        assert!(Batches::of(&[2, 1, 2, 1, 2, 4, 5], &[1, 2, 1, 2, 2, 5, 6], Layout::RowMajor).is_none());
    }
}
