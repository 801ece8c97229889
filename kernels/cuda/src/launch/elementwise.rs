//! Element-wise operators as steps of their own, on all types but the narrow ones.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::lane_op::{BinaryOp, LaneOp};
use repops::ops::{Fault, OpClass, OpDef, OpError};

use super::axes::{Axes, BLOCK, blocks, len};
use crate::device::{Argument, Device, Kernel, View};
use crate::lanes::{self, UnaryCode};
use crate::table::{Call, InputType, Launch};
use crate::{Error, kernels};

kernels! {
    ELEMENTWISE = "elementwise";
    UNARY_ARITHMETIC = "unary_arithmetic";
    ARITHMETIC_F64 = "arithmetic_f64";
    BINARY_FLOAT = "binary_float";
    BINARY_F64 = "binary_f64";
    COMPARE_FLOAT = "compare_float";
    CLASSIFY = "classify";
    LOGIC = "logic";
    LOGIC_NOT = "logic_not";
    BINARY_INT = "binary_int";
    COMPARE_INT = "compare_int";
    UNARY_INT = "unary_int";
    CAST = "cast";
    WHERE = "where";
    BATCH_NORM_FLOAT = "batch_norm_float";
    BATCH_NORM_F64 = "batch_norm_f64";
}
kernels! {
    FUNCTIONS = "functions";
    UNARY_FUNCTION = "unary_function";
    POW_FLOAT = "pow_float";
}
kernels! {
    FUNCTIONS64 = "functions64";
    FUNCTION_F64 = "function_f64";
    POW_F64 = "pow_f64_kernel";
}

/// Integer operators; their number is their place.
const INT_UNARY: &[&str] = &["Abs", "Neg", "Sign", "Relu", "BitwiseNot"];
const INT_BINARY: &[&str] = &[
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Mod",
    "Rem",
    "Max",
    "Min",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "ShiftLeft",
    "ShiftRight",
    "PRelu",
];

/// What is to be computed, and by which kernels.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Unary(UnaryCode),
    IntUnary(u32),
    /// The left fold of all inputs.
    Binary(u32),
    IntBinary(u32),
    Compare(u32),
    Classify(u32),
    Logic(u32),
    Not,
    Where,
    Clip {
        low: u32,
        high: u32,
    },
    Cast(DType),
    /// Operands of two types, at least one of them a float.
    MixedPow,
    /// A sum, or with the division by their number the mean, that is rounded once.
    WideSum {
        divides: bool,
    },
}

/// The launch of an element-wise operator for inputs of such types.
pub fn choose<D: Device>(def: &OpDef, attrs: &Attrs, inputs: &[Option<InputType<'_>>]) -> Option<Launch<D>> {
    let dtypes: Vec<Option<DType>> = inputs.iter().map(|input| input.as_ref().map(|i| i.dtype)).collect();
    if def.name == "BatchNormalization" && def.version == 1 {
        // In one precision.
        let is_double = |dtype: &DType| *dtype == DType::F64;
        let mut all = dtypes.iter().flatten().map(is_double);
        let first = all.next()?;
        return all.all(|other| other == first).then_some(batch_norm::<D>);
    }
    kind(def, attrs, &dtypes).map(|_| launch::<D> as Launch<D>)
}

fn kind(def: &OpDef, attrs: &Attrs, dtypes: &[Option<DType>]) -> Option<Kind> {
    if def.version != 1 {
        return None;
    }
    let OpClass::Elementwise(lane) = def.class else { return None };
    let first = (*dtypes.first()?)?;
    if def.name == "Where" {
        return (dtypes.get(1).copied()?? != DType::Packed).then_some(Kind::Where);
    }
    let known = |dtype: DType| dtype == DType::Bool || dtype.is_number();
    if let ("Pow", &[Some(base), Some(exponent)]) = (def.name, dtypes)
        && base != exponent
        && (base.is_float() || exponent.is_float())
    {
        return (base.is_number() && exponent.is_number()).then_some(Kind::MixedPow);
    }
    if !dtypes.iter().flatten().all(|&dtype| known(dtype) && dtype == first) {
        return None;
    }
    if def.name == "Cast" {
        let to = u32::try_from(attrs.int("to")).ok().and_then(DType::from_code)?;
        return known(to).then_some(Kind::Cast(to));
    }
    let is_short = first.is_float() && first.size() == 2;
    match def.name {
        "Mean" => return first.is_float().then_some(Kind::WideSum { divides: true }),
        // Rounded once at its end, which kernels of two do not do to 16-bit floats.
        "Sum" if dtypes.len() > 2 && is_short => return Some(Kind::WideSum { divides: false }),
        _ => {}
    }
    let place = |list: &[&str], name: &str| list.iter().position(|own| *own == name).map(|at| at as u32);
    if first.is_int() {
        let name = match def.name {
            "Mod" if attrs.int("fmod") != 0 => "Rem",
            "BitShift" if attrs.str("direction") == "LEFT" => "ShiftLeft",
            "BitShift" => "ShiftRight",
            name => name,
        };
        if def.name == "Clip" {
            return Some(Kind::Clip { low: place(INT_BINARY, "Max")?, high: place(INT_BINARY, "Min")? });
        }
        if let Some(code) = place(INT_UNARY, name) {
            return Some(Kind::IntUnary(code));
        }
        if let Some(code) = place(INT_BINARY, name) {
            return Some(Kind::IntBinary(code));
        }
    }
    match lane?(attrs) {
        LaneOp::Unary(op) if first.is_float() => {
            let code = lanes::unary(op);
            (first != DType::F64 || lanes::has_f64(code.code)).then_some(Kind::Unary(code))
        }
        LaneOp::Binary(op) if first.is_float() => Some(Kind::Binary(lanes::binary(op))),
        LaneOp::Compare(op) => Some(Kind::Compare(lanes::compare(op))),
        LaneOp::Classify(op) if first.is_float() => Some(Kind::Classify(lanes::classify(op))),
        LaneOp::Logic(op) if first == DType::Bool => Some(Kind::Logic(lanes::logic(op))),
        LaneOp::Not if first == DType::Bool => Some(Kind::Not),
        LaneOp::Clip if first.is_float() => {
            Some(Kind::Clip { low: lanes::binary(BinaryOp::Max), high: lanes::binary(BinaryOp::Min) })
        }
        _ => None,
    }
}

fn launch<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let dtypes: Vec<Option<DType>> = call.inputs.iter().map(|i| i.as_ref().map(|i| i.view.dtype)).collect();
    let Some(kind) = kind(call.op, call.attrs, &dtypes) else {
        return Err(Error::unsupported(format!("{} of {dtypes:?}", call.op.name)));
    };
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    match kind {
        Kind::Unary(code) => unary(device, code, x, y),
        Kind::IntUnary(code) => int_unary(device, code, x, y),
        Kind::Not => {
            let arguments = [y.pointer(), x.pointer(), Argument::U32(len(&y)?)];
            device.launch(&LOGIC_NOT, blocks(len(&y)?, 1), [BLOCK, 1, 1], 0, &arguments)
        }
        Kind::Cast(_) => cast(device, x, y),
        Kind::Classify(code) => {
            let (n, dtype) = (Argument::U32(len(&y)?), Argument::U32(u32::from(x.dtype.code())));
            let arguments = [y.pointer(), x.pointer(), n, dtype, Argument::U32(code)];
            device.launch(&CLASSIFY, blocks(len(&y)?, 1), [BLOCK, 1, 1], 0, &arguments)
        }
        Kind::Compare(code) => compare(device, code, x, call.input(1)?.view, y),
        Kind::Logic(code) => two(device, &LOGIC, code, x, call.input(1)?.view, y),
        Kind::Where => select(device, x, call.input(1)?.view, call.input(2)?.view, y),
        Kind::Binary(_) | Kind::IntBinary(_) => fold(device, kind, call, y),
        Kind::Clip { low, high } => clip(device, low, high, call, y),
        Kind::MixedPow => mixed_pow(device, x, call.input(1)?.view, y),
        Kind::WideSum { divides } => wide_sum(device, call, divides, y),
    }
}

/// `y = f(x)` on floats.
pub fn unary<D: Device>(
    device: &D,
    code: UnaryCode,
    x: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let n = len(&y)?;
    let arithmetic = lanes::is_arithmetic(code.code);
    let wide = x.dtype == DType::F64;
    let kernel = match (arithmetic, wide) {
        (true, false) => &UNARY_ARITHMETIC,
        (false, false) => &UNARY_FUNCTION,
        (true, true) => &ARITHMETIC_F64,
        (false, true) => &FUNCTION_F64,
    };
    let mut arguments = vec![y.pointer(), x.pointer(), Argument::U32(n)];
    if !wide {
        arguments.push(Argument::U32(u32::from(x.dtype.code())));
    }
    arguments.push(Argument::U32(code.code));
    arguments.extend(code.parameters.map(Argument::F32));
    let each = if arithmetic && !wide { 4 } else { 1 };
    device.launch(kernel, blocks(n, each), [BLOCK, 1, 1], 0, &arguments)
}

fn int_unary<D: Device>(
    device: &D,
    code: u32,
    x: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let n = len(&y)?;
    let numbers = [n, u32::from(x.dtype.code()), code].map(Argument::U32);
    let arguments: Vec<_> = [y.pointer(), x.pointer()].into_iter().chain(numbers).collect();
    device.launch(&UNARY_INT, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

/// `y = x` converted to y's type: SPEC.md, 2.4.
pub fn cast<D: Device>(device: &D, x: View<'_, D::Buffer>, y: View<'_, D::Buffer>) -> Result<(), Error> {
    if x.dtype == y.dtype {
        return device.copy(x.buffer, x.offset, y.buffer, y.offset, y.len() * y.dtype.size());
    }
    let n = len(&y)?;
    let numbers = [n, u32::from(x.dtype.code()), u32::from(y.dtype.code())].map(Argument::U32);
    let arguments: Vec<_> = [y.pointer(), x.pointer()].into_iter().chain(numbers).collect();
    device.launch(&CAST, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}

/// `y = op(a, b)` over the broadcast of both, by a kernel of such parameters.
fn two<D: Device>(
    device: &D,
    kernel: &'static Kernel,
    code: u32,
    a: View<'_, D::Buffer>,
    b: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let axes = Axes::broadcast(y.shape, [a.shape, b.shape])?;
    let mut arguments = vec![y.pointer(), a.pointer(), b.pointer()];
    arguments.extend([axes.len, u32::from(a.dtype.code()), code].map(Argument::U32));
    axes.push(&mut arguments);
    device.launch(kernel, blocks(axes.len, 1), [BLOCK, 1, 1], 0, &arguments)
}

fn compare<D: Device>(
    device: &D,
    code: u32,
    a: View<'_, D::Buffer>,
    b: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let kernel = if a.dtype.is_float() { &COMPARE_FLOAT } else { &COMPARE_INT };
    two(device, kernel, code, a, b, y)
}

/// `y = op(a, b)` on floats, over the broadcast of both.
pub fn binary<D: Device>(
    device: &D,
    code: u32,
    a: View<'_, D::Buffer>,
    b: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let kernel = match (a.dtype == DType::F64, code == lanes::binary(BinaryOp::Pow)) {
        (false, false) => &BINARY_FLOAT,
        (false, true) => &POW_FLOAT,
        (true, false) => &BINARY_F64,
        (true, true) => &POW_F64,
    };
    two(device, kernel, code, a, b, y)
}

/// As [`binary`], on integers; `known` are the bytes of `b` if the host has them.
fn int_binary<D: Device>(
    device: &D,
    code: u32,
    a: View<'_, D::Buffer>,
    b: View<'_, D::Buffer>,
    known: Option<&[u8]>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let divides = (3..=5).contains(&code);
    let is_zero = |bytes: &[u8]| bytes.chunks(b.dtype.size()).any(|e| e.iter().all(|&byte| byte == 0));
    let may_fail = divides && known.is_none_or(is_zero);
    let flag = device.alloc(4)?;
    if may_fail {
        device.write(&flag, 0, &[0; 4])?;
    }
    let axes = Axes::broadcast(y.shape, [a.shape, b.shape])?;
    let mut arguments = vec![y.pointer(), a.pointer(), b.pointer()];
    arguments.push(Argument::Pointer { buffer: &flag, offset: 0 });
    arguments.extend([axes.len, u32::from(a.dtype.code()), code].map(Argument::U32));
    axes.push(&mut arguments);
    device.launch(&BINARY_INT, blocks(axes.len, 1), [BLOCK, 1, 1], 0, &arguments)?;
    if may_fail {
        let mut bytes = [0; 4];
        device.read(&flag, 0, &mut bytes)?;
        if bytes != [0; 4] {
            return Err(OpError::Fault(Fault::DivisionByZero).into());
        }
    }
    Ok(())
}

/// The left fold of all inputs; a single one is copied.
fn fold<D: Device>(
    device: &D,
    kind: Kind,
    call: &Call<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let mut left = call.input(0)?.view;
    if call.inputs.len() == 1 {
        return device.copy(left.buffer, left.offset, y.buffer, y.offset, y.len() * y.dtype.size());
    }
    for index in 1..call.inputs.len() {
        let right = call.input(index)?;
        match kind {
            Kind::IntBinary(code) => int_binary(device, code, left, right.view, right.host, y)?,
            Kind::Binary(code) => binary(device, code, left, right.view, y)?,
            _ => return Err(Error::unsupported("a fold of another operator")),
        }
        // From here on in place: an element is read by the thread that writes it.
        left = y;
    }
    Ok(())
}

/// A tensor of the type that something is computed in: `x` itself if it has that type.
enum Wide<'a, B> {
    Same(View<'a, B>),
    Made(B, DType, &'a [usize]),
}

impl<'a, B> Wide<'a, B> {
    fn new<D: Device<Buffer = B>>(device: &D, dtype: DType, shape: &'a [usize]) -> Result<Self, Error> {
        let count: usize = shape.iter().product();
        Ok(Wide::Made(device.alloc((dtype.size() * count).max(8))?, dtype, shape))
    }

    fn of<D: Device<Buffer = B>>(device: &D, x: View<'a, B>, dtype: DType) -> Result<Self, Error> {
        if x.dtype == dtype {
            return Ok(Wide::Same(x));
        }
        let wide = Self::new(device, dtype, x.shape)?;
        cast(device, x, wide.view())?;
        Ok(wide)
    }

    fn view(&self) -> View<'_, B> {
        match self {
            Wide::Same(view) => *view,
            Wide::Made(buffer, dtype, shape) => View { buffer, offset: 0, dtype: *dtype, shape },
        }
    }
}

/// Both in f64, and the power of f64 converted.
fn mixed_pow<D: Device>(
    device: &D,
    base: View<'_, D::Buffer>,
    exponent: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let (base, exponent) = (Wide::of(device, base, DType::F64)?, Wide::of(device, exponent, DType::F64)?);
    let power = lanes::binary(BinaryOp::Pow);
    if y.dtype == DType::F64 {
        return binary(device, power, base.view(), exponent.view(), y);
    }
    let result = Wide::new(device, DType::F64, y.shape)?;
    binary(device, power, base.view(), exponent.view(), result.view())?;
    cast(device, result.view(), y)
}

/// The left fold of all inputs by addition, in f64 or f32, divided by their number for Mean and rounded once.
fn wide_sum<D: Device>(
    device: &D,
    call: &Call<'_, D::Buffer>,
    divides: bool,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let dtype = if y.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let result = if y.dtype == dtype { Wide::Same(y) } else { Wide::new(device, dtype, y.shape)? };
    let mut left = Wide::of(device, call.input(0)?.view, dtype)?;
    for index in 1..call.inputs.len() {
        let right = Wide::of(device, call.input(index)?.view, dtype)?;
        binary(device, lanes::binary(BinaryOp::Add), left.view(), right.view(), result.view())?;
        left = Wide::Same(result.view());
    }
    if divides {
        let count = call.inputs.len();
        let bytes = match dtype {
            DType::F64 => (count as f64).to_le_bytes().to_vec(),
            _ => (count as f32).to_le_bytes().to_vec(),
        };
        let count = device.put(&bytes)?;
        let count = View { buffer: &count, offset: 0, dtype, shape: &[] };
        binary(device, lanes::binary(BinaryOp::Div), left.view(), count, result.view())?;
    }
    if y.dtype == dtype { Ok(()) } else { cast(device, result.view(), y) }
}

/// maximum with the lower limit, then minimum with the upper one; rounding what was chosen changes nothing.
fn clip<D: Device>(
    device: &D,
    low: u32,
    high: u32,
    call: &Call<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let mut x = call.input(0)?.view;
    let limits = [(low, call.optional(1)), (high, call.optional(2))];
    for (code, limit) in limits {
        let Some(limit) = limit else { continue };
        if y.dtype.is_float() {
            binary(device, code, x, limit.view, y)?;
        } else {
            int_binary(device, code, x, limit.view, None, y)?;
        }
        x = y;
    }
    if call.optional(1).is_none() && call.optional(2).is_none() {
        return device.copy(x.buffer, x.offset, y.buffer, y.offset, y.len() * y.dtype.size());
    }
    Ok(())
}

/// `y = c ? a : b` over the broadcast of the three; elements of any type.
pub fn select<D: Device>(
    device: &D,
    c: View<'_, D::Buffer>,
    a: View<'_, D::Buffer>,
    b: View<'_, D::Buffer>,
    y: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let axes = Axes::broadcast(y.shape, [c.shape, a.shape, b.shape])?;
    let mut arguments = vec![y.pointer(), c.pointer(), a.pointer(), b.pointer()];
    arguments.extend([axes.len, y.dtype.size() as u32].map(Argument::U32));
    axes.push(&mut arguments);
    device.launch(&WHERE, blocks(axes.len, 1), [BLOCK, 1, 1], 0, &arguments)
}

/// One multiply-add a channel, all in f64 or none.
fn batch_norm<D: Device>(device: &D, call: &Call<'_, D::Buffer>) -> Result<(), Error> {
    let (x, y) = (call.input(0)?.view, call.output(0)?);
    if y.is_empty() {
        return Ok(());
    }
    let n = len(&y)?;
    let mut arguments = vec![y.pointer(), x.pointer()];
    let mut dtypes = vec![x.dtype];
    for index in 1..5 {
        let view = call.input(index)?.view;
        arguments.push(view.pointer());
        dtypes.push(view.dtype);
    }
    arguments.push(Argument::U32(n));
    arguments.extend(dtypes.iter().map(|dtype| Argument::U32(u32::from(dtype.code()))));
    // Both divide the number of elements, which fits.
    let plane: usize = x.shape[2..].iter().product();
    arguments.extend([plane as u32, x.shape[1] as u32].map(Argument::U32));
    arguments.push(Argument::F32(call.attrs.float("epsilon")));
    let kernel = if x.dtype == DType::F64 { &BATCH_NORM_F64 } else { &BATCH_NORM_FLOAT };
    device.launch(kernel, blocks(n, 1), [BLOCK, 1, 1], 0, &arguments)
}
