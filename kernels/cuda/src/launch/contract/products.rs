//! Products of matrices of f64 and of integers: a thread for each output, in tiles of one size.

use repops::dtype::DType;

use super::product::{GRID_MAX, Place, Product, size};
use crate::device::{Argument, Device, Kernel};
use crate::{Error, kernels};

kernels! {
    MODULE = "products";
    PRODUCT_F64 = "product_f64";
    PRODUCT_U32 = "product_u32";
    PRODUCT_U64 = "product_u64";
}

/// Outputs of a tile, to each side.
const SIDE: u32 = 16;

/// The kernel for two operands of such a type.
pub(super) fn kernel(dtype: DType) -> Option<&'static Kernel> {
    match dtype {
        DType::F64 => Some(&PRODUCT_F64),
        DType::I32 | DType::U32 => Some(&PRODUCT_U32),
        DType::I64 | DType::U64 => Some(&PRODUCT_U64),
        _ => None,
    }
}

/// A factor as the kernel takes it: a double's bits, or the integer that it is.
fn factor(dtype: DType, value: f32) -> u64 {
    if dtype == DType::F64 { f64::from(value).to_bits() } else { value as i64 as u64 }
}

/// Where outer indices and terms are apart.
fn strides(place: Place) -> Result<[usize; 2], Error> {
    match place {
        Place::Terms { stride } => Ok([stride, 1]),
        Place::Outers { stride } => Ok([1, stride]),
        Place::Panels | Place::Blocks(_) => Err(Error::unsupported("such types in panels")),
    }
}

impl<B> Product<'_, B> {
    /// Enqueues a product that is not empty by `kernel`, which is its type's.
    pub(super) fn by_outputs<D: Device<Buffer = B>>(
        &self,
        device: &D,
        kernel: &'static Kernel,
    ) -> Result<(), Error> {
        let (m, n, k) = (size("rows", self.m)?, size("columns", self.n)?, size("terms", self.k)?);
        let tiles_n = n.div_ceil(SIDE);
        let of_one = m.div_ceil(SIDE) as usize * tiles_n as usize;
        let tiles = size("tiles", of_one.saturating_mul(self.batch.iter().product()))?;
        let long = |value: usize| Argument::U64(value as u64);
        let (c, c_row, c_column) = self.c();
        let dtype = self.a.view.dtype;
        let mut arguments = vec![self.a.view.pointer(), self.b.view.pointer(), self.out.pointer(), c];
        arguments.extend([m, n, k].map(Argument::U32));
        arguments.extend(strides(self.a.place)?.map(long));
        arguments.extend(strides(self.b.place)?.map(long));
        arguments.extend([tiles_n, tiles].map(Argument::U32));
        for extent in &self.batch[1..] {
            arguments.push(Argument::U32(size("matrices", *extent)?));
        }
        arguments.extend(self.a.batch.map(long));
        arguments.extend(self.b.batch.map(long));
        arguments
            .extend([self.finish.alpha, self.finish.beta].map(|value| Argument::U64(factor(dtype, value))));
        arguments.push(Argument::U32(self.finish.flags()));
        arguments.extend([long(c_row), long(c_column)]);
        device.launch(kernel, [tiles.min(8 * GRID_MAX), 1, 1], [SIDE * SIDE, 1, 1], 0, &arguments)
    }
}
