//! Operators on the interpreter, compared with their reference evaluation bit for bit.
//!
//! Every buffer has exactly the bytes that its tensor has, outputs begin unwritten, and a second run puts every tensor one
//! element behind the beginning of its buffer, where wide accesses are not aligned.
//!
//! Invariant: [`Case::check`] fails unless every bit of every output is right and no input has changed.

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::{DType, Element};
use repops::ops::{self, EvalCtx, OpError};
use repops::reference::pack;
use repops::tensor::{Tensor, TensorView};
use repops_cuda::launch::contract::integer::{self, Way};
use repops_cuda::launch::contract::product::{Cut, Tiles};
use repops_cuda::launch::contract::{blocks, conv, conv_integer, gemm, matmul};
use repops_cuda::table::InputType;
use repops_cuda::{Call, Device, Operand, View, lookup};

use crate::{Buffer, Interpreter};

/// One application of an operator.
#[derive(Clone)]
pub struct Case {
    pub op: &'static str,
    pub attrs: Attrs,
    pub inputs: Vec<Option<Tensor>>,
    /// How many outputs are wanted.
    pub outputs: usize,
    /// Inputs whose bytes the host knows, too.
    pub on_host: Vec<usize>,
    /// Inputs that lie in panels.
    pub panels: Vec<usize>,
    /// Tensors lie only at the beginnings of buffers.
    pub aligned: bool,
    /// Launches have no more blocks than this along the first axis, unless it is 0.
    pub blocks_max: u32,
    /// How the product that the operator is, is cut, if not as its size asks.
    pub cut: Option<Cut>,
    /// How a product of bytes is computed.
    pub way: Way,
}

/// Why a case fails.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{op}: the case itself is wrong: {what}")]
    Case { op: &'static str, what: String },
    #[error("{op}: there is no launch for {inputs}")]
    NoLaunch { op: &'static str, inputs: String },
    #[error("{op} {inputs}: {error}")]
    Device { op: &'static str, inputs: String, error: repops_cuda::Error },
    #[error("{op} {inputs}: output {output}, element {element} is {found}, not {wanted}")]
    Differs { op: &'static str, inputs: String, output: usize, element: usize, found: String, wanted: String },
    #[error("{op} {inputs}: input {input} has changed")]
    InputChanged { op: &'static str, inputs: String, input: usize },
    #[error("{op} {inputs}: {found}, not the error {wanted}")]
    NotRefused { op: &'static str, inputs: String, found: String, wanted: OpError },
}

impl Case {
    pub fn new(op: &'static str, attrs: Attrs, inputs: Vec<Tensor>) -> Case {
        Case::with_optional(op, attrs, inputs.into_iter().map(Some).collect())
    }

    pub fn with_optional(op: &'static str, attrs: Attrs, mut inputs: Vec<Option<Tensor>>) -> Case {
        for input in inputs.iter_mut().flatten() {
            input.canonicalize();
        }
        Case {
            op,
            attrs,
            inputs,
            outputs: 1,
            on_host: Vec::new(),
            panels: Vec::new(),
            aligned: false,
            blocks_max: 0,
            cut: None,
            way: Way::Best,
        }
    }

    pub fn outputs(mut self, outputs: usize) -> Case {
        self.outputs = outputs;
        self
    }

    /// The host knows the bytes of these inputs.
    pub fn on_host(mut self, inputs: &[usize]) -> Case {
        self.on_host = inputs.to_vec();
        self
    }

    /// These inputs lie in panels, as constants that are right operands of products do.
    pub fn in_panels(mut self, inputs: &[usize]) -> Case {
        self.panels = inputs.to_vec();
        self
    }

    /// The launch demands alignment of its own: no second run.
    pub fn aligned(mut self) -> Case {
        self.aligned = true;
        self
    }

    /// Launches have so few blocks that threads have to loop.
    pub fn in_blocks(mut self, blocks: u32) -> Case {
        self.blocks_max = blocks;
        self
    }

    /// The operator is a product, to be cut in this way.
    pub fn cut(mut self, tiles: Tiles, unsplit: bool) -> Case {
        self.cut = Some(Cut { tiles, unsplit });
        self
    }

    /// The operator is a product of bytes, to be computed in this way.
    pub fn by(mut self, way: Way) -> Case {
        self.way = way;
        self
    }

    /// Runs on a fresh interpreter and panics unless all bits are right: for tests.
    #[track_caller]
    pub fn check(&self) {
        if let Err(failure) = self.check_on(&Interpreter::new()) {
            panic!("{failure}");
        }
    }

    /// Runs twice, with tensors at the beginnings of buffers and behind them, and compares.
    pub fn check_on(&self, device: &Interpreter) -> Result<(), Failure> {
        self.check_against(device, &self.wanted()?)
    }

    /// As [`Case::check_on`], with results that are known already.
    pub fn check_against(&self, device: &Interpreter, wanted: &Wanted) -> Result<(), Failure> {
        self.compare(device, wanted, 0)?;
        if self.aligned { Ok(()) } else { self.compare(device, wanted, 1) }
    }

    /// What the reference gives, and tensors as inference describes the outputs.
    pub fn wanted(&self) -> Result<Wanted, Failure> {
        let wrong = |what: String| Failure::Case { op: self.op, what };
        let def = ops::by_name(self.op).ok_or_else(|| wrong("no such operator".to_owned()))?;
        let attrs = def.check_attrs(&self.attrs).map_err(|error| wrong(error.to_string()))?;
        let views = self.views();
        let inferred =
            ops::infer_known(def, &attrs, &views, self.outputs).map_err(|error| wrong(error.to_string()))?;
        let result = def.evaluate(&EvalCtx { attrs: &attrs, inputs: &views, outputs: self.outputs });
        // Where sizes depend on data, the reference's outputs tell them.
        let types = inferred.iter().enumerate().map(|(index, output)| {
            let evaluated = result.as_ref().ok().and_then(|outputs| outputs.get(index));
            let shape = evaluated.map(|tensor| tensor.shape().to_vec()).or_else(|| output.ty.extents());
            (output.ty.dtype, shape.unwrap_or_default())
        });
        Ok(Wanted { attrs, types: types.collect(), result })
    }

    fn views(&self) -> Vec<Option<TensorView<'_>>> {
        self.inputs.iter().map(|input| input.as_ref().map(Tensor::view)).collect()
    }

    fn compare(&self, device: &Interpreter, wanted: &Wanted, shift: usize) -> Result<(), Failure> {
        let inputs = || self.describe(shift);
        let found = self.run(device, wanted, shift);
        let wanted = match (&wanted.result, &found) {
            (Ok(wanted), _) => wanted,
            (Err(wanted), Err(Failure::Device { error: repops_cuda::Error::Operator(found), .. }))
                if wanted == found =>
            {
                return Ok(());
            }
            (Err(wanted), found) => {
                let found = match found {
                    Ok(_) => "ran".to_owned(),
                    Err(failure) => failure.to_string(),
                };
                return Err(Failure::NotRefused {
                    op: self.op,
                    inputs: inputs(),
                    found,
                    wanted: wanted.clone(),
                });
            }
        };
        for (output, (found, wanted)) in found?.iter().zip(wanted).enumerate() {
            let size = wanted.dtype().size();
            let differs =
                found.chunks_exact(size).zip(wanted.bytes().chunks_exact(size)).position(|(a, b)| a != b);
            if let Some(element) = differs {
                let hex = |bytes: &[u8]| {
                    let digits: String = bytes[element * size..][..size]
                        .iter()
                        .rev()
                        .map(|byte| format!("{byte:02x}"))
                        .collect();
                    format!("{digits} ({})", wanted.dtype())
                };
                return Err(Failure::Differs {
                    op: self.op,
                    inputs: inputs(),
                    output,
                    element,
                    found: hex(found),
                    wanted: hex(wanted.bytes()),
                });
            }
        }
        Ok(())
    }

    /// Runs on the device, every tensor `shift` elements behind the beginning of its buffer; the bytes of the outputs.
    pub fn run(&self, device: &Interpreter, wanted: &Wanted, shift: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let failed = |error| Failure::Device { op: self.op, inputs: self.describe(shift), error };
        let Some(def) = ops::by_name(self.op) else {
            return Err(Failure::Case { op: self.op, what: "no such operator".to_owned() });
        };
        let views = self.views();
        let mut buffers: Vec<Option<(Buffer, Vec<u8>)>> = Vec::new();
        for (index, view) in views.iter().enumerate() {
            let Some(view) = view else {
                buffers.push(None);
                continue;
            };
            let bytes =
                if self.panels.contains(&index) { pack(*view, Layout::Panel16) } else { view.bytes.to_vec() };
            let offset = shift * view.dtype.size();
            let buffer = device.alloc(offset + bytes.len()).map_err(failed)?;
            device.write(&buffer, offset, &bytes).map_err(failed)?;
            buffers.push(Some((buffer, bytes)));
        }
        let layout = |index| if self.panels.contains(&index) { Layout::Panel16 } else { Layout::RowMajor };
        let types: Vec<Option<InputType<'_>>> = views
            .iter()
            .enumerate()
            .map(|(index, view)| {
                view.map(|view| InputType {
                    dtype: view.dtype,
                    shape: view.shape,
                    layout: layout(index),
                    on_host: self.on_host.contains(&index),
                })
            })
            .collect();
        let operands: Vec<Option<Operand<'_, Buffer>>> = views
            .iter()
            .zip(&buffers)
            .enumerate()
            .map(|(index, (view, buffer))| {
                let (view, (buffer, _)) = (view.as_ref()?, buffer.as_ref()?);
                let (dtype, shape, offset) = (view.dtype, view.shape, shift * view.dtype.size());
                Some(Operand {
                    view: View { buffer, offset, dtype, shape },
                    layout: layout(index),
                    host: self.on_host.contains(&index).then_some(view.bytes),
                })
            })
            .collect();
        let mut outputs = Vec::new();
        for (dtype, shape) in &wanted.types {
            let bytes = shape.iter().product::<usize>() * dtype.size();
            outputs.push((device.alloc(shift * dtype.size() + bytes).map_err(failed)?, bytes));
        }
        let out: Vec<Option<View<'_, Buffer>>> = outputs
            .iter()
            .zip(&wanted.types)
            .map(|((buffer, _), (dtype, shape))| {
                Some(View { buffer, offset: shift * dtype.size(), dtype: *dtype, shape })
            })
            .collect();
        let launch = lookup::<Interpreter>(def.id, def.version, &wanted.attrs, &types)
            .ok_or_else(|| Failure::NoLaunch { op: self.op, inputs: self.describe(shift) })?;
        let call = Call { op: def, attrs: &wanted.attrs, inputs: &operands, outputs: &out };
        device.limit_blocks(self.blocks_max);
        let ran = match self.op {
            "Conv" if self.cut.is_some() => conv::launch_cut(device, &call, self.cut),
            "Gemm" if self.cut.is_some() => gemm::launch_cut(device, &call, self.cut),
            "MatMul" if self.cut.is_some() => matmul::launch_cut(device, &call, self.cut),
            "MatMulBlocks" if self.cut.is_some() => blocks::launch_cut(device, &call, self.cut),
            "MatMulInteger" => integer::launch_by(device, &call, self.way),
            "QLinearConv" => conv_integer::launch_qlinear_by(device, &call, self.way),
            "QLinearMatMul" => integer::launch_qlinear_by(device, &call, self.way),
            _ => launch(device, &call),
        };
        device.limit_blocks(0);
        ran.map_err(failed)?;
        for (input, (buffer, view)) in buffers.iter().zip(&views).enumerate() {
            let (Some((buffer, bytes)), Some(view)) = (buffer, view) else { continue };
            let mut now = vec![0; bytes.len()];
            device.read(buffer, shift * view.dtype.size(), &mut now).map_err(failed)?;
            if now != *bytes {
                return Err(Failure::InputChanged { op: self.op, inputs: self.describe(shift), input });
            }
        }
        let mut read = Vec::new();
        for ((buffer, bytes), (dtype, _)) in outputs.iter().zip(&wanted.types) {
            let mut found = vec![0; *bytes];
            device.read(buffer, shift * dtype.size(), &mut found).map_err(failed)?;
            read.push(found);
        }
        Ok(read)
    }

    fn describe(&self, shift: usize) -> String {
        let inputs: Vec<String> = self
            .inputs
            .iter()
            .map(|input| input.as_ref().map_or("-".to_owned(), |t| format!("{}{:?}", t.dtype(), t.shape())))
            .collect();
        let Case { attrs, panels, cut, way, .. } = self;
        format!("({}) {attrs:?} panels {panels:?} cut {cut:?} way {way:?} shift {shift}", inputs.join(", "))
    }
}

/// What the reference says of a case.
pub struct Wanted {
    /// With defaults filled in.
    pub attrs: Attrs,
    pub types: Vec<(DType, Vec<usize>)>,
    pub result: Result<Vec<Tensor>, OpError>,
}

/// Reproducible data: the same seed gives the same numbers everywhere.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// SplitMix64.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    /// A float of a size that products and sums of many stay finite with: about one.
    pub fn plain(&mut self) -> f32 {
        let bits = self.bits();
        f32::from_bits((bits as u32 & 0x807f_ffff) | (124 + (bits >> 40 & 3) as u32) << 23)
    }

    /// Mostly plain; now and then a zero of either sign, a subnormal, an infinity, a NaN, something huge, any bits.
    pub fn hard(&mut self) -> f32 {
        let bits = self.bits();
        let small = bits as u32;
        match bits >> 32 & 63 {
            0 => f32::from_bits(small & 0x8000_0000),
            1 => f32::from_bits(small & 0x807f_ffff),
            2 => f32::from_bits(0x7f80_0000 | small & 0x8000_0000),
            3 => f32::NAN,
            4 => f32::from_bits(0x7f00_0000 | small & 0x807f_ffff),
            5 => f32::from_bits(small),
            6 => f32::from_bits(0x0080_0000 | small & 0x8000_000f),
            _ => self.plain(),
        }
    }

    /// Like [`Draw::hard`], but without NaN and infinity, and sums stay finite: everything else shows in results.
    pub fn finite(&mut self) -> f32 {
        let bits = self.bits();
        match bits >> 32 & 31 {
            0 => f32::from_bits(bits as u32 & 0x8000_0000),
            1 => f32::from_bits(bits as u32 & 0x807f_ffff),
            _ => self.plain(),
        }
    }

    pub fn tensor<T: Element>(&mut self, shape: &[usize], mut f: impl FnMut(&mut Draw) -> T) -> Tensor {
        let data: Vec<T> = (0..shape.iter().product()).map(|_| f(self)).collect();
        Tensor::from_slice(shape, &data)
    }

    pub fn plain_tensor(&mut self, shape: &[usize]) -> Tensor {
        self.tensor(shape, Draw::plain)
    }

    pub fn hard_tensor(&mut self, shape: &[usize]) -> Tensor {
        self.tensor(shape, Draw::hard)
    }

    pub fn finite_tensor(&mut self, shape: &[usize]) -> Tensor {
        self.tensor(shape, Draw::finite)
    }

    /// Any bits of any type; floats are hard ones, narrowed by dropping bits where they have fewer.
    pub fn any_tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let mut bytes = Vec::with_capacity(count * dtype.size());
        for _ in 0..count {
            match dtype {
                DType::F32 => bytes.extend(self.hard().to_bits().to_le_bytes()),
                DType::F64 => bytes
                    .extend(f64::from(self.hard()).to_bits().wrapping_add(self.bits() >> 36).to_le_bytes()),
                DType::BF16 => bytes.extend(((self.hard().to_bits() >> 16) as u16).to_le_bytes()),
                DType::F16 => bytes.extend(half::f16::from_f32(self.hard()).to_bits().to_le_bytes()),
                DType::Bool => bytes.push(self.bits() as u8 & 1),
                // Half of them small, so that equal and adjacent values meet.
                _ => {
                    let bits = self.bits();
                    let value = if bits >> 63 == 0 { bits } else { (bits % 7) as i64 as u64 };
                    bytes.extend(&value.to_le_bytes()[..dtype.size()]);
                }
            }
        }
        Tensor::from_bytes(dtype, shape, &bytes).unwrap_or_else(|_| Tensor::from_slice::<u8>(&[0], &[]))
    }
}
