//! ConvInteger and QLinearConv over one or two axes, exact modulo 2^32.
//!
//! Where groups are one and outputs are some, pixels are spread out and go through the products of bytes; a tap outside of the image is
//! the zero point there, whose product with anything is none. Others are computed directly.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::window::{Window, WindowAxis};

use super::conv::Plane;
use super::integer::{Operands, Way, address, step};
use super::product::size;
use crate::device::{Argument, Device, Operand, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    MODULE = "conv_integer";
    SPREAD_PIXELS = "spread_pixels";
    CONV_BYTES = "conv_bytes";
}

/// Outputs from which on pixels are worth spreading.
const SPREAD_OUTPUTS: usize = 8;
/// Bytes of pixels that are spread at once.
const SPREAD_MAX: usize = 1 << 28;

/// The launch of ConvInteger.
pub fn choose<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    matches!(inputs.first()?.as_ref()?.shape.len(), 3 | 4).then_some(launch::<D>)
}

/// The launch of QLinearConv.
pub fn choose_qlinear<D: Device>(_: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    matches!(inputs.first()?.as_ref()?.shape.len(), 3 | 4).then_some(launch_qlinear::<D>)
}

struct Conv<'a, 'c, B> {
    call: &'c Call<'a, B>,
    x: View<'a, B>,
    w: View<'a, B>,
    x_zero: Option<Operand<'a, B>>,
    w_zero: Option<Operand<'a, B>>,
    /// Of x, of w, of y, the zero point of y, and the bias; for QLinearConv.
    scales: Option<[Option<Operand<'a, B>>; 5]>,
    out: View<'a, B>,
    way: Way,
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let conv = Conv {
        call,
        x: call.input(0)?.view,
        w: call.input(1)?.view,
        x_zero: call.optional(2),
        w_zero: call.optional(3),
        scales: None,
        out: call.output(0)?,
        way: Way::Best,
    };
    conv.launch(device)
}

fn launch_qlinear<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    launch_qlinear_by(device, call, Way::Best)
}

/// The launch of QLinearConv, whose products are computed in a given way, for tests.
pub fn launch_qlinear_by<D: Device>(device: &D, call: &Call<'_, D::Buffer>, way: Way) -> Result<(), Error> {
    let conv = Conv {
        call,
        x: call.input(0)?.view,
        w: call.input(3)?.view,
        x_zero: call.optional(2),
        w_zero: call.optional(5),
        scales: Some([1, 4, 6, 7, 8].map(|index| call.optional(index))),
        out: call.output(0)?,
        way,
    };
    conv.launch(device)
}

impl<'a, B> Conv<'a, '_, B> {
    fn launch<D: Device<Buffer = B>>(&self, device: &D) -> Result<(), Error> {
        if self.out.is_empty() {
            return Ok(());
        }
        let kernel: Vec<i64> = self.w.shape[2..].iter().map(|&extent| extent as i64).collect();
        let (axes, _) = Window::new(self.call.attrs, &kernel)?.placed(&self.x.shape[2..])?;
        let plane = Plane::of(&axes, &self.x.shape[2..], &self.out.shape[2..])?;
        let groups = usize::try_from(self.call.attrs.int("group")).unwrap_or(1).max(1);
        let terms: usize = self.w.shape[1..].iter().product();
        let is_small = terms * plane.positions <= SPREAD_MAX;
        if groups == 1 && self.w.shape[0] >= SPREAD_OUTPUTS && is_small && terms > 0 {
            self.by_products(device, &plane, &axes, terms)
        } else {
            self.directly(device, &plane, groups)
        }
    }

    /// The kernels' `SCALES`: rows are channels.
    fn scales(&self) -> Vec<Argument<'a, B>> {
        let Some([x, w, y, zero, bias]) = &self.scales else { return Vec::new() };
        let mut out: Vec<Argument<'a, B>> =
            [w, x, y, zero, bias].map(|operand| address(operand.as_ref())).into_iter().collect();
        out.extend([step(w.as_ref()), 0, 0, 0].map(Argument::U32));
        out.push(Argument::U32(u32::from(self.out.dtype == DType::I8)));
        out
    }

    fn by_products<D: Device<Buffer = B>>(
        &self,
        device: &D,
        plane: &Plane,
        axes: &[WindowAxis],
        terms: usize,
    ) -> Result<(), Error> {
        let (images, m, n) = (self.x.shape[0], self.w.shape[0], plane.positions);
        let as_it_lies = axes
            .iter()
            .all(|axis| axis.kernel == 1 && axis.stride == 1 && axis.pad_begin == 0 && axis.pad_end == 0);
        let pixels: usize = self.x.shape[1..].iter().product();
        let at_once = if as_it_lies { images } else { (SPREAD_MAX / (terms * n).max(1)).clamp(1, images) };
        let spread = if as_it_lies { None } else { Some(device.alloc(at_once * terms * n)?) };
        let weights = [m, terms];
        let mut done = 0;
        while done < images {
            let count = at_once.min(images - done);
            let source = View { offset: self.x.offset + done * pixels, ..self.x };
            if let Some(buffer) = &spread {
                let elements = count * terms * n;
                let mut arguments = vec![
                    Argument::Pointer { buffer, offset: 0 },
                    source.pointer(),
                    address(self.x_zero.as_ref()),
                    Argument::U64(elements as u64),
                    Argument::U32(size("terms", terms)?),
                    Argument::U32(size("positions", n)?),
                ];
                arguments.extend(plane.arguments()?);
                let grid = elements.div_ceil(256).min(1 << 16) as u32;
                device.launch(&SPREAD_PIXELS, [grid, 1, 1], [256, 1, 1], 0, &arguments)?;
            }
            let shape = [count, terms, n];
            let b = match &spread {
                Some(buffer) => View { buffer, offset: 0, dtype: self.x.dtype, shape: &shape },
                None => View { shape: &shape, ..source },
            };
            let size_of = self.out.dtype.size();
            let out = View { offset: self.out.offset + done * m * n * size_of, ..self.out };
            let product = Operands {
                a: View { shape: &weights, ..self.w },
                b,
                a_zero: self.w_zero,
                b_zero: self.x_zero,
                out,
                way: self.way,
            };
            match &self.scales {
                None => product.sums(device)?,
                Some(_) => product.requantized(device, self.scales())?,
            }
            done += count;
        }
        Ok(())
    }

    fn directly<D: Device<Buffer = B>>(&self, device: &D, plane: &Plane, groups: usize) -> Result<(), Error> {
        let count = self.out.len();
        let flags = u32::from(self.x.dtype == DType::I8)
            | u32::from(self.w.dtype == DType::I8) << 1
            | step(self.w_zero.as_ref()) << 2;
        let mut arguments = vec![
            self.out.pointer(),
            self.x.pointer(),
            self.w.pointer(),
            address(self.x_zero.as_ref()),
            address(self.w_zero.as_ref()),
            Argument::U64(count as u64),
            Argument::U32(size("outputs", self.w.shape[0] / groups)?),
            Argument::U32(size("positions", plane.positions)?),
            Argument::U32(size("channels", self.w.shape[1])?),
            Argument::U32(size("groups", groups)?),
            Argument::U32(flags),
        ];
        let scales = self.scales();
        if scales.is_empty() {
            arguments.extend((0..5).map(|_| Argument::U64(0)));
            arguments.extend((0..5).map(|_| Argument::U32(0)));
        } else {
            arguments.extend(scales);
        }
        arguments.extend(plane.arguments()?);
        let grid = count.div_ceil(256).min(1 << 16) as u32;
        device.launch(&CONV_BYTES, [grid, 1, 1], [256, 1, 1], 0, &arguments)
    }
}
