//! MatMulInteger and QLinearMatMul: products of bytes, exact modulo 2^32.

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;

use super::matmul::Batches;
use super::product::size;
use super::wgmma;
use crate::device::{Argument, Device, Kernel, Operand, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    MODULE = "igemm";
    IGEMM_128X128 = "igemm_128x128";
    IGEMM_64X64 = "igemm_64x64";
    IGEMV = "igemv";
    QGEMM_128X128 = "qgemm_128x128";
    QGEMM_64X64 = "qgemm_64x64";
    QGEMV = "qgemv";
}

// The same kernels, with the larger tensor instructions of compute_80.
kernels! {
    MODULE_80 = "igemm.80";
    IGEMM_128X128_80 = "igemm_128x128";
    IGEMM_64X64_80 = "igemm_64x64";
    QGEMM_128X128_80 = "qgemm_128x128";
    QGEMM_64X64_80 = "qgemm_64x64";
}

/// The launch of MatMulInteger.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let (a, b) = (inputs.first()?.as_ref()?, inputs.get(1)?.as_ref()?);
    let parameter = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let are_fit = row_step(parameter(2), a.shape).is_some() && column_step(parameter(3), b.shape).is_some();
    (are_matrices(a, b) && are_fit).then_some(launch::<D>)
}

/// The launch of QLinearMatMul.
pub fn choose_qlinear<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let input = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let (a, b) = (input(0)?, input(3)?);
    let rows = [1, 2].into_iter().all(|index| row_step(input(index), a.shape).is_some());
    let columns = [4, 5].into_iter().all(|index| column_step(input(index), b.shape).is_some());
    // Those of the result have its rows, which are a's.
    let of_result = [6, 7].into_iter().all(|index| row_step(input(index), a.shape).is_some());
    let are_f32 =
        [1, 4, 6].into_iter().all(|index| input(index).is_some_and(|scale| scale.dtype == DType::F32));
    (are_matrices(a, b) && rows && columns && of_result && are_f32).then_some(launch_qlinear::<D>)
}

fn are_matrices(a: &InputType<'_>, b: &InputType<'_>) -> bool {
    let ranks = a.shape.len() >= 2 && b.shape.len() >= 2;
    ranks && b.layout == Layout::RowMajor && Batches::of(a.shape, b.shape, b.layout).is_some()
}

/// Elements between a parameter's values for neighbouring rows: 0 for one value, 1 for one a row. `None`: neither.
fn row_step(parameter: Option<&InputType<'_>>, matrix: &[usize]) -> Option<usize> {
    let Some(parameter) = parameter else { return Some(0) };
    let rows = matrix[matrix.len().checked_sub(2)?];
    let count: usize = parameter.shape.iter().product();
    let by_row = match parameter.shape {
        [_] => true,
        [leading @ .., _, 1] => leading.iter().all(|&extent| extent == 1),
        _ => false,
    };
    match count {
        1 => Some(0),
        _ if by_row && count == rows => Some(1),
        _ => None,
    }
}

fn column_step(parameter: Option<&InputType<'_>>, matrix: &[usize]) -> Option<usize> {
    let Some(parameter) = parameter else { return Some(0) };
    let columns = *matrix.last()?;
    let count: usize = parameter.shape.iter().product();
    match count {
        1 => Some(0),
        _ if count == columns && parameter.shape.last() == Some(&columns) => Some(1),
        _ => None,
    }
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    launch_by(device, call, Way::Best)
}

/// The launch of MatMulInteger in a given way, for tests.
pub fn launch_by<D: Device>(device: &D, call: &Call<'_, D::Buffer>, way: Way) -> Result<(), Error> {
    let operands = Operands {
        a: call.input(0)?.view,
        b: call.input(1)?.view,
        a_zero: call.optional(2),
        b_zero: call.optional(3),
        out: call.output(0)?,
        way,
    };
    operands.sums(device)
}

fn launch_qlinear<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    launch_qlinear_by(device, call, Way::Best)
}

/// The launch of QLinearMatMul in a given way, for tests.
pub fn launch_qlinear_by<D: Device>(device: &D, call: &Call<'_, D::Buffer>, way: Way) -> Result<(), Error> {
    let out = call.output(0)?;
    let operands = Operands {
        a: call.input(0)?.view,
        b: call.input(3)?.view,
        a_zero: call.optional(2),
        b_zero: call.optional(5),
        out,
        way,
    };
    let mut scales = Vec::new();
    for index in [1, 4, 6, 7] {
        scales.push(call.input(index)?.view.pointer());
    }
    scales.push(Argument::U64(0));
    for index in [1, 4, 6, 7] {
        scales.push(Argument::U32(step(call.optional(index).as_ref())));
    }
    scales.push(Argument::U32(u32::from(out.dtype == DType::I8)));
    operands.requantized(device, scales)
}

/// The step of a parameter that [`choose`] has found to be one value, or one a row or column.
pub(super) fn step<B>(parameter: Option<&Operand<'_, B>>) -> u32 {
    u32::from(parameter.is_some_and(|parameter| parameter.view.len() > 1))
}

/// The address of a parameter, or null.
pub(super) fn address<'a, B>(parameter: Option<&Operand<'a, B>>) -> Argument<'a, B> {
    parameter.map_or(Argument::U64(0), |parameter| parameter.view.pointer())
}

/// How a product is computed, with the same bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// As its shape asks for.
    #[default]
    Best,
    /// By large tiles of the kernels that every device has, however few they are.
    LargeTiles,
    /// As large ones are where warpgroups multiply, however small it is, by at most so many blocks.
    Warpgroups { blocks: u32 },
}

/// Operands of a product of bytes; zero points may be absent.
pub(super) struct Operands<'a, B> {
    pub a: View<'a, B>,
    pub b: View<'a, B>,
    pub a_zero: Option<Operand<'a, B>>,
    pub b_zero: Option<Operand<'a, B>>,
    pub out: View<'a, B>,
    pub way: Way,
}

impl<B> Operands<'_, B> {
    /// Exact sums.
    pub(super) fn sums<D: Device<Buffer = B>>(&self, device: &D) -> Result<(), Error> {
        let kernels = match device.architecture() {
            ..80 => [&IGEMM_128X128, &IGEMM_64X64, &IGEMV],
            _ => [&IGEMM_128X128_80, &IGEMM_64X64_80, &IGEMV],
        };
        self.launch(device, kernels, Vec::new())
    }

    /// Sums that are requantized. `scales`: as the kernels' `SCALES`.
    pub(super) fn requantized<D: Device<Buffer = B>>(
        &self,
        device: &D,
        scales: Vec<Argument<'_, B>>,
    ) -> Result<(), Error> {
        let kernels = match device.architecture() {
            ..80 => [&QGEMM_128X128, &QGEMM_64X64, &QGEMV],
            _ => [&QGEMM_128X128_80, &QGEMM_64X64_80, &QGEMV],
        };
        self.launch(device, kernels, scales)
    }

    /// Which operands are unsigned.
    pub(super) fn flips(&self) -> u32 {
        u32::from(self.a.dtype == DType::U8) | u32::from(self.b.dtype == DType::U8) << 1
    }

    /// `kernels`: by large tiles, by small ones, by rows. `scales`: the arguments that follow those of every product.
    fn launch<D: Device<Buffer = B>>(
        &self,
        device: &D,
        kernels: [&'static Kernel; 3],
        scales: Vec<Argument<'_, B>>,
    ) -> Result<(), Error> {
        let Some(mut batches) = Batches::of(self.a.shape, self.b.shape, Layout::RowMajor) else {
            return Err(Error::unsupported("a batch with more than three axes"));
        };
        // A parameter by rows repeats for each matrix, and is none of further rows.
        if step(self.a_zero.as_ref()) == 0 && scales.is_empty() {
            batches.fold_rows();
        }
        if self.out.is_empty() {
            return Ok(());
        }
        let (m, n, k) = (size("rows", batches.m)?, size("columns", batches.n)?, size("terms", batches.k)?);
        let matrices = size("matrices", batches.extents.iter().product())?;
        let blocks = match self.way {
            Way::Warpgroups { blocks } => (k > 0).then_some(blocks),
            Way::Best => wgmma::is_large(m, n, k).then_some(wgmma::BLOCKS),
            Way::LargeTiles => None,
        };
        if let Some(blocks) = blocks
            && device.architecture() == 90
            && batches.extents == [1; 3]
        {
            return wgmma::launch(device, self, [m, n, k], scales, blocks);
        }
        let large = u64::from(m.div_ceil(128)) * u64::from(n.div_ceil(128)) * u64::from(matrices);
        let is_large = self.way == Way::LargeTiles || m > 64 && n > 64 && large >= 96;
        let (kernel, grid, threads) = if is_large {
            (kernels[0], [n.div_ceil(128), m.div_ceil(128), matrices], 256)
        } else if m <= 8 {
            (kernels[2], [n.div_ceil(128), m, matrices], 256)
        } else {
            (kernels[1], [n.div_ceil(64), m.div_ceil(64), matrices], 128)
        };
        if grid[1] > 65535 || grid[2] > 65535 {
            return Err(Error::unsupported("so large a product of bytes"));
        }
        let is_wide = |view: &View<'_, B>, strides: &[usize; 3], row: usize, align: usize| {
            view.offset.is_multiple_of(align)
                && row.is_multiple_of(align)
                && strides.iter().all(|stride| stride.is_multiple_of(align))
        };
        let flips = self.flips()
            | u32::from(is_wide(&self.a, &batches.a_strides, batches.k, 16)) << 2
            | u32::from(is_wide(&self.b, &batches.b_strides, batches.n, 4)) << 3;
        let long = |value: usize| Argument::U64(value as u64);
        let mut arguments = vec![
            self.a.pointer(),
            self.b.pointer(),
            self.out.pointer(),
            address(self.a_zero.as_ref()),
            address(self.b_zero.as_ref()),
            Argument::U32(m),
            Argument::U32(n),
            Argument::U32(k),
            Argument::U32(size("matrices", batches.extents[1])?),
            Argument::U32(size("matrices", batches.extents[2])?),
        ];
        arguments.extend(batches.a_strides.map(long));
        arguments.extend(batches.b_strides.map(long));
        arguments.push(Argument::U32(flips));
        arguments.extend([&self.a_zero, &self.b_zero].map(|zero| Argument::U32(step(zero.as_ref()))));
        arguments.extend(scales);
        device.launch(kernel, grid, [threads, 1, 1], 0, &arguments)
    }
}
