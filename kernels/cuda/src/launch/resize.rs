//! Resize: tables of places and weights are made on the host, from sizes alone; kernels take elements by them.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::resize::{self, AxisPlan, Stencil};
use repops::ops::{EvalCtx, OpDef};
use repops::reduce::CHUNK;
use repops::tensor::TensorView;

use super::axes::{AXES_MAX, BLOCK, blocks, len, strides};
use super::elementwise::cast;
use crate::device::{Argument, Device, Kernel, View};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    RESIZE = "resize";
    RESIZE_NEAREST = "resize_nearest";
    INTERPOLATE_F32 = "interpolate_f32";
    INTERPOLATE_F64 = "interpolate_f64";
    RESIZE_FINISH_F32 = "resize_finish_f32";
    RESIZE_FINISH_F64 = "resize_finish_f64";
}

/// The launch of Resize, whose sizes the host knows.
pub fn choose<D: Device>(def: &OpDef, _: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let x = inputs.first()?.as_ref()?;
    let is_number = x.dtype != DType::Packed;
    let is_fit = def.name == "Resize" && def.version == 1 && is_number && x.shape.len() <= AXES_MAX;
    (is_fit && inputs.iter().skip(1).flatten().all(|input| input.on_host)).then_some(launch::<D>)
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let mut inputs = vec![Some(TensorView { dtype: x.dtype, shape: x.shape, bytes: &[] })];
    for index in 1..call.inputs.len() {
        let view = match call.optional(index) {
            None => None,
            Some(operand) => {
                let bytes =
                    operand.host.ok_or_else(|| Error::unsupported("a size that the host does not know"))?;
                Some(TensorView { dtype: operand.view.dtype, shape: operand.view.shape, bytes })
            }
        };
        inputs.push(view);
    }
    // Of X its shape alone is read.
    let plans = resize::plans(&EvalCtx { attrs: call.attrs, inputs: &inputs, outputs: 1 }, y.shape)?;
    let places = Places::of(device, &plans, x.shape, y.shape)?;
    let outside = call.attrs.float("extrapolation_value");
    if call.attrs.str("mode") == "nearest" {
        return nearest(device, &places, x, y, outside);
    }
    let is_double = x.dtype == DType::F64;
    let wide = if is_double { DType::F64 } else { DType::F32 };
    // What is interpolated so far, and its shape.
    let mut values = device.alloc(x.len() * wide.size())?;
    let mut shape = x.shape.to_vec();
    cast(device, x, View { buffer: &values, offset: 0, dtype: wide, shape: &shape })?;
    let kernel: &'static Kernel = if is_double { &INTERPOLATE_F64 } else { &INTERPOLATE_F32 };
    for plan in plans.iter().rev() {
        let from = shape[plan.axis];
        shape[plan.axis] = plan.stencils.len();
        let count: usize = shape.iter().product();
        let next = device.alloc(count * wide.size())?;
        let table = Taps::of(device, &plan.stencils)?;
        let inner: usize = shape[plan.axis + 1..].iter().product();
        let n = u32::try_from(count).map_err(|_| Error::unsupported(format!("{count} elements")))?;
        let mut arguments = vec![
            Argument::Pointer { buffer: &next, offset: 0 },
            Argument::Pointer { buffer: &values, offset: 0 },
            Argument::Pointer { buffer: &table.buffer, offset: 0 },
            Argument::Pointer { buffer: &table.buffer, offset: table.taps },
            Argument::Pointer { buffer: &table.buffer, offset: table.weights },
        ];
        arguments.extend([n, inner as u32, from as u32, plan.stencils.len() as u32].map(Argument::U32));
        device.launch(kernel, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)?;
        values = next;
    }
    let n = len(&y)?;
    let mut arguments = vec![
        y.pointer(),
        Argument::Pointer { buffer: &values, offset: 0 },
        Argument::Pointer { buffer: &places.buffer, offset: 0 },
        Argument::F32(outside),
    ];
    arguments.extend([n, u32::from(y.dtype.code())].map(Argument::U32));
    places.push(y.shape, &mut arguments);
    let kernel: &'static Kernel = if is_double { &RESIZE_FINISH_F64 } else { &RESIZE_FINISH_F32 };
    device.launch(kernel, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

fn nearest<D: Device>(
    device: &D,
    places: &Places<D::Buffer>,
    x: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
    outside: f32,
) -> Result<(), Error> {
    let n = len(&y)?;
    let value = device.put(&resize::extrapolation(x.dtype, outside))?;
    let mut arguments = vec![
        y.pointer(),
        x.pointer(),
        Argument::Pointer { buffer: &value, offset: 0 },
        Argument::Pointer { buffer: &places.buffer, offset: 0 },
    ];
    arguments.extend([n, y.dtype.size() as u32].map(Argument::U32));
    places.push(y.shape, &mut arguments);
    arguments.extend((0..AXES_MAX - x.shape.len()).map(|_| Argument::U64(0)));
    arguments.extend(strides(x.shape).into_iter().map(|stride| Argument::U64(stride as u64)));
    device.launch(&RESIZE_NEAREST, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

/// For each axis and each position of the output the place in the input that nearest takes, or -1: of other modes only whether there
/// is one.
struct Places<B> {
    buffer: B,
    /// Where each axis begins.
    starts: Vec<u32>,
}

impl<B> Places<B> {
    fn of<D: Device<Buffer = B>>(
        device: &D,
        plans: &[AxisPlan],
        from: &[usize],
        to: &[usize],
    ) -> Result<Places<B>, Error> {
        let (mut starts, mut table) = (Vec::new(), Vec::new());
        for (axis, (&from, &to)) in from.iter().zip(to).enumerate() {
            starts.push(small(table.len())?);
            small(from)?;
            match plans.iter().find(|plan| plan.axis == axis) {
                None => table.extend((0..to).map(|position| position as i32)),
                Some(plan) => table.extend(plan.stencils.iter().map(|stencil| match stencil {
                    Stencil::Outside => -1,
                    stencil => stencil.nearest().map_or(0, |place| place as i32),
                })),
            }
        }
        let bytes: Vec<u8> = table.iter().flat_map(|place| place.to_le_bytes()).collect();
        let buffer = device.put(&bytes)?;
        Ok(Places { buffer, starts })
    }

    /// The kernels' `TABLES` and `EXTENTS`, of axes that are not merged.
    fn push<'a>(&self, shape: &[usize], arguments: &mut Vec<Argument<'a, B>>) {
        let skipped = AXES_MAX - shape.len();
        arguments.extend((0..skipped).map(|_| Argument::U32(0)));
        arguments.extend(self.starts.iter().map(|&start| Argument::U32(start)));
        arguments.push(Argument::U32(shape.len() as u32));
        arguments.extend((0..skipped).map(|_| Argument::U32(1)));
        arguments.extend(shape.iter().map(|&extent| Argument::U32(extent as u32)));
    }
}

fn small(value: usize) -> Result<u32, Error> {
    match u32::try_from(value) {
        Ok(value) if value < 1 << 31 => Ok(value),
        _ => Err(Error::unsupported(format!("an extent of {value}"))),
    }
}

/// The stencils of an axis in one buffer: four words each, then taps, then weights.
struct Taps<B> {
    buffer: B,
    taps: usize,
    weights: usize,
}

impl<B> Taps<B> {
    fn of<D: Device<Buffer = B>>(device: &D, stencils: &[Stencil]) -> Result<Taps<B>, Error> {
        let (mut heads, mut taps, mut weights) = (Vec::new(), Vec::<u32>::new(), Vec::<f32>::new());
        for stencil in stencils {
            let first = small(taps.len())?;
            let kind = match stencil {
                Stencil::Outside => 0,
                Stencil::One(place) => {
                    taps.push(small(*place)?);
                    weights.push(1.0);
                    1
                }
                Stencil::Two(place, weight) => {
                    taps.push(small(*place)?);
                    weights.push(*weight);
                    2
                }
                Stencil::Many(many) => {
                    if many.len() > CHUNK {
                        return Err(Error::unsupported(format!("{} taps", many.len())));
                    }
                    for (place, weight) in many {
                        taps.push(small(*place)?);
                        weights.push(*weight);
                    }
                    3
                }
            };
            heads.extend([kind, first, small(taps.len())? - first, 0]);
        }
        let mut bytes: Vec<u8> = heads.iter().chain(&taps).flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(weights.iter().flat_map(|weight| weight.to_le_bytes()));
        let buffer = device.put(&bytes)?;
        let taps_at = 4 * heads.len();
        Ok(Taps { buffer, taps: taps_at, weights: taps_at + 4 * taps.len() })
    }
}
