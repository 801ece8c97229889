//! Gemm: the product, then `alpha`, then `beta * C`, as tiles are stored.

use repops::attrs::Attrs;
use repops::digest::Layout;

use super::matmul::takes;
use super::product::{Cut, Finish, Matrix, Place, Product};
use crate::Error;
use crate::device::{Device, Operand, View};
use crate::table::{Call, InputType, Launch};

/// The launch for the operands' types.
pub fn choose<D: Device>(attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let (a, b) = (inputs.first()?.as_ref()?, inputs.get(1)?.as_ref()?);
    // Panels hold the operand as it is multiplied.
    let is_placed = b.layout == Layout::RowMajor || attrs.int("transB") == 0;
    (takes(a.dtype, b.dtype, b.layout) && is_placed).then_some(launch::<D>)
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    launch_cut(device, call, None)
}

/// Gemm, cut in a given way.
pub fn launch_cut<D: Device>(device: &D, call: &Call<'_, D::Buffer>, cut: Option<Cut>) -> Result<(), Error> {
    let options = Options {
        alpha: call.attrs.float("alpha"),
        beta: call.attrs.float("beta"),
        trans_a: call.attrs.int("transA") != 0,
        trans_b: call.attrs.int("transB") != 0,
        cut,
    };
    let c = call.optional(2).map(|c| c.view);
    gemm(device, call.input(0)?.view, call.input(1)?, c, call.output(0)?, &options)
}

/// Gemm's attributes.
pub struct Options {
    pub alpha: f32,
    pub beta: f32,
    pub trans_a: bool,
    pub trans_b: bool,
    /// Another way to cut the product than the one chosen for it.
    pub cut: Option<Cut>,
}

/// `out = alpha * a' b' + beta * c` in the operator's order; `c` broadcasts.
pub fn gemm<D: Device>(
    device: &D,
    a: View<'_, D::Buffer>,
    b: Operand<'_, D::Buffer>,
    c: Option<View<'_, D::Buffer>>,
    out: View<'_, D::Buffer>,
    options: &Options,
) -> Result<(), Error> {
    let (&[a_rows, a_columns], &[b_rows, b_columns]) = (a.shape, b.view.shape) else {
        return Err(Error::unsupported("Gemm of other than matrices"));
    };
    let (m, k) = if options.trans_a { (a_columns, a_rows) } else { (a_rows, a_columns) };
    let n = if options.trans_b { b_rows } else { b_columns };
    let a_place = if options.trans_a { Place::Outers { stride: m } } else { Place::Terms { stride: k } };
    let b_place = match b.layout {
        Layout::Panel16 => Place::Panels,
        Layout::RowMajor if options.trans_b => Place::Terms { stride: k },
        Layout::RowMajor => Place::Outers { stride: n },
        Layout::Filters16 | Layout::Groups4 => {
            return Err(Error::unsupported("a matrix in blocks of filters or groups of bytes"));
        }
    };
    // Element (row, column) of C is at `row * row_stride + column * column_stride`.
    let c = c.map(|c| {
        let columns = c.shape.last().copied().unwrap_or(1);
        let rows = if c.shape.len() == 2 { c.shape[0] } else { 1 };
        (c, if rows == 1 { 0 } else { columns }, usize::from(columns != 1))
    });
    let product = Product {
        a: Matrix { view: a, place: a_place, batch: [0; 3] },
        b: Matrix { view: b.view, place: b_place, batch: [0; 3] },
        out,
        finish: Finish { alpha: options.alpha, beta: options.beta, c },
        batch: [1; 3],
        m,
        n,
        k,
    };
    product.launch_cut(device, options.cut)
}
