//! Contractions: MatMul, Gemm, Conv, ConvTranspose and their integer forms. Series 0 of a row is the contraction of the
//! output element with that number.

use super::series::{Formula, Kind, Series};
use super::wide::{Wide, integer};
use super::{Inputs, Stop, Subject, TensorType, Term};
use crate::blocks::Format;
use crate::dtype::DType;
use crate::ops::matmul_integer::requantized;
use crate::ops::window::{Window, WindowAxis, unravel};
use crate::ops::{OpError, conv_transpose};
use crate::tensor::strides;

/// Where the factors at position `p` of an output element's contraction are.
trait Operands {
    fn len(&self) -> usize;
    /// Positions in the left and right tensor; `None`: skipped.
    fn at(&self, element: usize, p: usize) -> Option<(usize, usize)>;
}

/// An operator of this family.
pub(super) struct Contraction<'a> {
    operands: Box<dyn Operands + 'a>,
    subject: &'a Subject<'a>,
    left: Side<'a>,
    right: Side<'a>,
    end: End,
}

/// A tensor of factors and what is subtracted from them.
struct Side<'a> {
    input: usize,
    ty: &'a TensorType,
    /// The input that holds zero points, if it is there, and where an element's is.
    zero: Option<(usize, &'a TensorType)>,
    place: Place,
    /// Elements lie in blocks of this format, in columns of that many positions; a position in the tensor is one in
    /// the columns, one after the other.
    blocks: Option<(Format, usize)>,
}

/// How a parameter belongs to its matrix.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// A parameter of one axis is one a row.
    Row,
    /// Aligned at the right.
    Column,
    /// One number, or one for each extent of the first axis.
    First,
}

/// What follows the contraction.
enum End {
    /// Rounding to the output's type.
    Plain,
    Gemm,
    /// The bias of a convolution: the input and the output's channels.
    Bias {
        input: usize,
    },
    /// Requantization of a matrix product, of a convolution.
    QLinearMatMul,
    QLinearConv,
}

impl Side<'_> {
    fn factor<W: Wide>(&self, at: usize, inputs: &mut dyn Inputs) -> Result<W, Stop> {
        if let Some((format, k)) = self.blocks {
            let byte = |at: usize| Ok::<u8, Stop>(inputs.element(self.input, at as u64)? as u8);
            let value = format.at(k, at % k, at / k, byte)?;
            return Ok(W::widen(DType::F32, u64::from(value.to_bits())));
        }
        let bits = inputs.element(self.input, at as u64)?;
        let Some((input, ty)) = self.zero else { return Ok(W::widen(self.ty.dtype, bits)) };
        let zero = inputs.element(input, self.parameter(ty, at) as u64)?;
        let difference = integer(self.ty.dtype, bits) - integer(ty.dtype, zero);
        Ok(W::from_bits(difference as i32 as u32 as u64))
    }

    /// Where a parameter of type `ty` holds the element for position `at` of the tensor.
    fn parameter(&self, ty: &TensorType, at: usize) -> usize {
        let to = &self.ty.shape;
        match self.place {
            Place::First if ty.len() == 1 => 0,
            Place::First => at / strides(to).first().copied().unwrap_or(1).max(1),
            Place::Row => broadcast_at(&row_aligned(&ty.shape, to.len()), to, at),
            Place::Column => broadcast_at(&ty.shape, to, at),
        }
    }
}

/// A parameter of one axis belongs to rows.
fn row_aligned(shape: &[usize], rank: usize) -> Vec<usize> {
    match shape {
        [rows] if rank > 1 => vec![*rows, 1],
        _ => shape.to_vec(),
    }
}

/// The position in a tensor of shape `own` that broadcasts to `to`, of position `at` of the latter.
pub(super) fn broadcast_at(own: &[usize], to: &[usize], at: usize) -> usize {
    let skip = to.len().saturating_sub(own.len());
    let (full, own_strides) = (strides(to), strides(own));
    (0..own.len()).fold(0, |offset, axis| {
        let position = at / full[axis + skip].max(1) % to[axis + skip].max(1);
        offset + if own[axis] == 1 { 0 } else { position * own_strides[axis] }
    })
}

fn side<'a>(
    subject: &'a Subject<'a>,
    input: usize,
    zero: Option<usize>,
    place: Place,
) -> Result<Side<'a>, Stop> {
    let zero = zero.and_then(|z| Some((z, subject.optional(z)?)));
    Ok(Side { input, ty: subject.input(input)?, zero, place, blocks: None })
}

impl<'a> Contraction<'a> {
    /// The operator of the subject; the type in which it accumulates is [`accumulator`].
    pub fn new(subject: &'a Subject<'a>) -> Result<Contraction<'a>, Stop> {
        let (a, b, zeros, end) = match subject.def.name {
            "MatMul" | "MatMulBlocks" => (0, 1, None, End::Plain),
            "Gemm" => (0, 1, None, End::Gemm),
            "Conv" | "ConvTranspose" => (0, 1, None, End::Bias { input: 2 }),
            "MatMulInteger" => (0, 1, Some((2, 3)), End::Plain),
            "ConvInteger" => (0, 1, Some((2, 3)), End::Plain),
            "QLinearMatMul" => (0, 3, Some((2, 5)), End::QLinearMatMul),
            "QLinearConv" => (0, 3, Some((2, 5)), End::QLinearConv),
            _ => return Err(Stop::NoTerm),
        };
        let is_conv = subject.def.name.contains("Conv");
        let places = if is_conv { [Place::First; 2] } else { [Place::Row, Place::Column] };
        let left = side(subject, a, zeros.map(|z| z.0), places[0])?;
        let mut right = side(subject, b, zeros.map(|z| z.1), places[1])?;
        let operands: Box<dyn Operands + 'a> = match subject.def.name {
            "Gemm" => Box::new(Matrices::gemm(subject, left.ty, right.ty)?),
            "MatMulBlocks" => {
                let matrices = Matrices::blocks(subject, left.ty)?;
                right.blocks = Some((crate::ops::matmul_blocks::format(subject.attrs)?, matrices.k));
                Box::new(matrices)
            }
            "ConvTranspose" => Box::new(Transposed::new(subject, left.ty, right.ty)?),
            _ if is_conv => Box::new(Convolution::new(subject, left.ty, right.ty)?),
            _ => Box::new(Matrices::batched(left.ty, right.ty)?),
        };
        Ok(Contraction { operands, subject, left, right, end })
    }

    fn channel(&self, element: usize) -> Result<usize, Stop> {
        let shape = &self.subject.output(0)?.shape;
        let plane: usize = shape.get(2..).ok_or(Stop::NoTerm)?.iter().product();
        Ok(element / plane.max(1) % shape[1].max(1))
    }
}

/// The type in which a contraction accumulates.
pub(super) fn accumulator(subject: &Subject<'_>) -> Result<DType, Stop> {
    Ok(match subject.input(0)?.dtype {
        DType::F16 | DType::BF16 => DType::F32,
        DType::U8 | DType::I8 => DType::I32,
        dtype => dtype,
    })
}

impl<W: Wide> Formula<W> for Contraction<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        (series == 0).then(|| Series::new(Kind::Contraction, self.operands.len()))
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let Some((left, right)) = self.operands.at(row, at) else { return Ok(None) };
        Ok(Some((self.left.factor(left, inputs)?, self.right.factor(right, inputs)?)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let series = Formula::<W>::series(self, 0, element).ok_or(Stop::NoTerm)?;
        Ok(vec![series.top(0, element)])
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let sum = *claims.first().ok_or(Stop::NoTerm)?;
        let ty = self.subject.output(output)?;
        Ok(match self.end {
            End::Plain => sum.narrow(ty.dtype),
            End::Bias { input } => match self.subject.optional(input) {
                Some(bias) => {
                    let bits = inputs.element(input, self.channel(element)? as u64)?;
                    sum.add(W::widen(bias.dtype, bits)).narrow(ty.dtype)
                }
                None => sum.narrow(ty.dtype),
            },
            End::Gemm => self.gemm_end(sum, element, ty, inputs)?,
            End::QLinearMatMul => self.requantize_matrix(sum, element, ty, inputs)?,
            End::QLinearConv => self.requantize_conv(sum, element, ty, inputs)?,
        })
    }
}

impl Contraction<'_> {
    /// `alpha * s`, then `+ C` or `fma(beta, C, ..)`, as Gemm states it.
    fn gemm_end<W: Wide>(
        &self,
        sum: W,
        element: usize,
        ty: &TensorType,
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let factor = |name: &str| {
            let value = self.subject.attrs.float(name);
            match self.subject.input(0).map(|x| x.dtype) {
                Ok(dtype) if dtype.is_float() => W::widen(DType::F32, u64::from(value.to_bits())),
                // Inference has refused factors that are no integers.
                _ => W::widen(DType::I64, value as i64 as u64),
            }
        };
        let one = W::widen(DType::F32, u64::from(1f32.to_bits()));
        let is_float = ty.dtype.is_float();
        let is_one = |name: &str| is_float && factor(name) == one;
        // A product that is rounded alone: + (-0) would keep the sign of zero, + (+0) would not.
        let scaled = match is_one("alpha") {
            true => sum,
            false => multiply(factor("alpha"), sum, is_float),
        };
        let Some(c) = self.subject.optional(2) else { return Ok(scaled.narrow(ty.dtype)) };
        let at = broadcast_at(&c.shape, &ty.shape, element);
        let c = W::widen(c.dtype, inputs.element(2, at as u64)?);
        let end = if is_one("beta") { scaled.add(c) } else { factor("beta").fma(c, scaled) };
        Ok(end.narrow(ty.dtype))
    }

    /// As QLinearMatMul states it.
    fn requantize_matrix<W: Wide>(
        &self,
        sum: W,
        element: usize,
        ty: &TensorType,
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let (a, b) = (&self.left.ty.shape, &self.right.ty.shape);
        // A position of the operands that the element's contraction reads: parameters do not depend on p.
        let read = |index: usize, side: &Side<'_>, at: usize, inputs: &mut dyn Inputs| {
            let parameter = self.subject.input(index)?;
            let bits = inputs.element(index, side.parameter(parameter, at) as u64)?;
            Ok::<f32, Stop>(Wide::widen(parameter.dtype, bits))
        };
        if a.is_empty() || b.is_empty() {
            return Err(Stop::NoTerm);
        }
        let y_side = Side { input: 0, ty, zero: None, place: Place::Row, blocks: None };
        let (left, right) = self.operands.at(element, 0).ok_or(Stop::NoTerm)?;
        let a_scale = read(1, &self.left, left, inputs)?;
        let b_scale = read(4, &self.right, right, inputs)?;
        let y_scale = read(6, &y_side, element, inputs)?;
        let zero_ty = self.subject.input(7)?;
        let zero = inputs.element(7, y_side.parameter(zero_ty, element) as u64)?;
        let factor = a_scale * b_scale / y_scale;
        Ok(saturate(requantized(sum.to_bits() as i32, factor, integer(zero_ty.dtype, zero) as i32), ty.dtype))
    }

    /// As QLinearConv states it; the bias is added to the exact sum.
    fn requantize_conv<W: Wide>(
        &self,
        sum: W,
        element: usize,
        ty: &TensorType,
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let channel = self.channel(element)?;
        let mut sum = sum.to_bits() as i32;
        if self.subject.optional(8).is_some() {
            sum = sum.wrapping_add(inputs.element(8, channel as u64)? as i32);
        }
        let mut scale = |index: usize, at: usize| {
            let ty = self.subject.input(index)?;
            let at = if ty.len() == 1 { 0 } else { at };
            Ok::<f32, Stop>(Wide::widen(ty.dtype, inputs.element(index, at as u64)?))
        };
        let factor = scale(1, 0)? * scale(4, channel)? / scale(6, 0)?;
        let zero = integer(self.subject.input(7)?.dtype, inputs.element(7, 0)?) as i32;
        Ok(saturate(requantized(sum, factor, zero), ty.dtype))
    }
}

pub(super) fn multiply<W: Wide>(a: W, b: W, is_float: bool) -> W {
    // fma(a, b, -0) is the rounded product with its own sign of zero.
    let minus_zero = if is_float { W::widen(DType::F32, u64::from((-0f32).to_bits())) } else { W::ZERO };
    a.fma(b, minus_zero)
}

fn saturate(value: i64, dtype: DType) -> u64 {
    match dtype {
        DType::I8 => value.clamp(-128, 127) as u8 as u64,
        _ => value.clamp(0, 255) as u64,
    }
}

/// Matrices with leading axes that broadcast, or Gemm's with transposes.
struct Matrices {
    k: usize,
    m: usize,
    n: usize,
    /// Steps along rows or columns and along k.
    left: (usize, usize),
    right: (usize, usize),
    lead: Vec<usize>,
    left_lead: Vec<usize>,
    right_lead: Vec<usize>,
}

impl Matrices {
    fn batched(a: &TensorType, b: &TensorType) -> Result<Matrices, Stop> {
        let a = if a.shape.len() == 1 { vec![1, a.shape[0]] } else { a.shape.clone() };
        let b = if b.shape.len() == 1 { vec![b.shape[0], 1] } else { b.shape.clone() };
        let (Some((left_lead, &[m, k])), Some((right_lead, &[_, n]))) =
            (a.split_last_chunk::<2>(), b.split_last_chunk::<2>())
        else {
            return Err(Stop::NoTerm);
        };
        let lead = crate::ops::infer::broadcast_extents(&[left_lead, right_lead])?;
        Ok(Matrices {
            k,
            m,
            n,
            left: (k, 1),
            right: (1, n),
            lead,
            left_lead: left_lead.to_vec(),
            right_lead: right_lead.to_vec(),
        })
    }

    /// All rows of X and the columns of W, each of which counts as one after the other.
    fn blocks(subject: &Subject<'_>, x: &TensorType) -> Result<Matrices, Stop> {
        let &k = x.shape.last().ok_or(Stop::NoTerm)?;
        let &n = subject.output(0)?.shape.last().ok_or(Stop::NoTerm)?;
        let m = subject.output(0)?.len() / n.max(1);
        let none = Vec::new;
        Ok(Matrices {
            k,
            m,
            n,
            left: (k, 1),
            right: (k, 1),
            lead: none(),
            left_lead: none(),
            right_lead: none(),
        })
    }

    fn gemm(subject: &Subject<'_>, a: &TensorType, b: &TensorType) -> Result<Matrices, Stop> {
        let (&[a0, a1], &[b0, b1]) = (a.shape.as_slice(), b.shape.as_slice()) else {
            return Err(Stop::NoTerm);
        };
        let flag = |name: &str| subject.attrs.int(name) != 0;
        let (m, k, left) = if flag("transA") { (a1, a0, (1, a1)) } else { (a0, a1, (a1, 1)) };
        let (n, right) = if flag("transB") { (b0, (b1, 1)) } else { (b1, (1, b1)) };
        let none = Vec::new;
        Ok(Matrices { k, m, n, left, right, lead: none(), left_lead: none(), right_lead: none() })
    }
}

impl Operands for Matrices {
    fn len(&self) -> usize {
        self.k
    }

    fn at(&self, element: usize, p: usize) -> Option<(usize, usize)> {
        let (m, n) = (self.m.max(1), self.n.max(1));
        let (batch, row, column) = (element / (m * n), element / n % m, element % n);
        let left = broadcast_at(&self.left_lead, &self.lead, batch) * self.m * self.k;
        let right = broadcast_at(&self.right_lead, &self.lead, batch) * self.k * self.n;
        Some((left + row * self.left.0 + p * self.left.1, right + column * self.right.0 + p * self.right.1))
    }
}

/// Convolutions; positions run over (channel of the group, kernel) as W's axes after the first do.
struct Convolution {
    axes: Vec<WindowAxis>,
    out: Vec<usize>,
    image: Vec<usize>,
    kernel: Vec<usize>,
    channels: usize,
    channels_per_group: usize,
    outputs: usize,
    outputs_per_group: usize,
}

impl Convolution {
    fn new(subject: &Subject<'_>, x: &TensorType, w: &TensorType) -> Result<Convolution, Stop> {
        let (Some((&[_, channels], image)), Some((&[outputs, channels_per_group], kernel))) =
            (x.shape.split_first_chunk::<2>(), w.shape.split_first_chunk::<2>())
        else {
            return Err(Stop::NoTerm);
        };
        let extents: Vec<i64> = kernel.iter().map(|&k| k as i64).collect();
        let (axes, out) = Window::new(subject.attrs, &extents)?.placed(image)?;
        let group = usize::try_from(subject.attrs.int("group")).unwrap_or(0).max(1);
        if image.len() != kernel.len() {
            return Err(OpError::shape("X and W differ in rank").into());
        }
        Ok(Convolution {
            axes,
            out,
            image: image.to_vec(),
            kernel: kernel.to_vec(),
            channels,
            channels_per_group,
            outputs,
            outputs_per_group: (outputs / group).max(1),
        })
    }
}

impl Operands for Convolution {
    fn len(&self) -> usize {
        self.channels_per_group * self.kernel.iter().product::<usize>()
    }

    fn at(&self, element: usize, p: usize) -> Option<(usize, usize)> {
        let (count, area): (usize, usize) = (self.out.iter().product(), self.kernel.iter().product());
        let (position, plane) = (unravel(element % count, &self.out), element / count);
        let (n, channel) = (plane / self.outputs, plane % self.outputs);
        let tap = unravel(p % area, &self.kernel);
        let mut inside = 0;
        for (axis, window) in self.axes.iter().enumerate() {
            let start = position[axis] as i64 * window.stride - window.pad_begin;
            let at = usize::try_from(start + tap[axis] as i64 * window.dilation).ok();
            inside = inside * self.image[axis] + at.filter(|at| *at < self.image[axis])?;
        }
        let first_plane = n * self.channels + channel / self.outputs_per_group * self.channels_per_group;
        let image: usize = self.image.iter().product();
        Some(((first_plane + p / area) * image + inside, channel * self.len() + p))
    }
}

/// Transposed convolutions; positions run over (channel of the group, kernel).
struct Transposed {
    axes: Vec<WindowAxis>,
    out: Vec<usize>,
    image: Vec<usize>,
    kernel: Vec<usize>,
    channels: usize,
    per_group: usize,
    outputs_per_group: usize,
    outputs: usize,
}

impl Transposed {
    fn new(subject: &Subject<'_>, x: &TensorType, w: &TensorType) -> Result<Transposed, Stop> {
        let (Some((&[_, channels], image)), Some((&[_, outputs_per_group], kernel))) =
            (x.shape.split_first_chunk::<2>(), w.shape.split_first_chunk::<2>())
        else {
            return Err(Stop::NoTerm);
        };
        let (axes, out) = conv_transpose::placed(subject.attrs, image, kernel)?;
        let group = usize::try_from(subject.attrs.int("group")).unwrap_or(0).max(1);
        Ok(Transposed {
            axes,
            out,
            image: image.to_vec(),
            kernel: kernel.to_vec(),
            channels,
            per_group: channels / group,
            outputs_per_group,
            outputs: outputs_per_group * group,
        })
    }
}

impl Operands for Transposed {
    fn len(&self) -> usize {
        // Without channels W is empty and bounds nothing.
        if self.per_group == 0 { 0 } else { self.per_group * self.kernel.iter().product::<usize>() }
    }

    fn at(&self, element: usize, p: usize) -> Option<(usize, usize)> {
        let (count, area): (usize, usize) = (self.out.iter().product(), self.kernel.iter().product());
        let (position, plane) = (unravel(element % count, &self.out), element / count);
        let (n, m) = (plane / self.outputs, plane % self.outputs);
        let (group, own) = (m / self.outputs_per_group, m % self.outputs_per_group);
        let channel = group * self.per_group + p / area;
        let taps = unravel(p % area, &self.kernel);
        let mut inside = 0;
        for (axis, window) in self.axes.iter().enumerate() {
            let at = conv_transpose::tap(window, position[axis], taps[axis] as i64, self.image[axis])?;
            inside = inside * self.image[axis] + at;
        }
        let image: usize = self.image.iter().product();
        let weight = (channel * self.outputs_per_group + own) * area + p % area;
        Some(((n * self.channels + channel) * image + inside, weight))
    }
}
