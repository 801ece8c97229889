//! Every kernel gives the bits of the reference evaluation: with every instruction set that this machine
//! has, on 1, 2 and 7 threads, for data laden with NaNs, infinities, zeros of both signs and subnormals.

mod blocks;
mod contraction;
mod digest;
mod elementwise;
mod movement;
mod rows;

use std::sync::LazyLock;

use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::ops::{self, EvalCtx, OpDef};
use repops::reference::pack_panel16;
use repops::tensor::{Tensor, TensorView};
use repops_kernels::{Isa, KernelCtx, Operand, lookup};

static POOLS: LazyLock<Vec<rayon::ThreadPool>> = LazyLock::new(|| {
    [1, 2, 7].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap()).into()
});

/// Small random numbers, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number in `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// How much of the data is special.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Data {
    /// Numbers around 1, so that rounding shows.
    Plain,
    /// One in eight is a zero, a subnormal or huge; no NaN or infinity.
    Finite,
    /// As `Finite`, and one in 200 is an infinity or NaN.
    Laden,
}

/// A tensor of random elements.
pub fn random(dtype: DType, shape: &[usize], data: Data, random: &mut Random) -> Tensor {
    let count: usize = shape.iter().product();
    let mut bytes = Vec::with_capacity(count * dtype.size());
    for _ in 0..count {
        let word = random.draw();
        if !dtype.is_float() {
            let value = if dtype == DType::Bool { word & 1 } else { word };
            bytes.extend_from_slice(&value.to_le_bytes()[..dtype.size()]);
            continue;
        }
        let mut value = (word >> 40) as f64 / (1u64 << 22) as f64 - 2.0;
        let mut exact_bits = None;
        if data != Data::Plain && word.is_multiple_of(8) {
            value = match word >> 3 & 7 {
                0 | 1 => 0.0,
                2 | 3 => -0.0,
                4 => value * 1e-30,
                5 => value * 1e25,
                _ => {
                    exact_bits = Some(word >> 40 & 0xffff);
                    0.0
                }
            };
        }
        if data == Data::Laden && word >> 6 & 0xff == 7 {
            value = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::NAN][(word >> 14 & 3) as usize];
        }
        match (dtype, exact_bits) {
            (DType::F32, Some(bits)) => bytes.extend_from_slice(&(bits as u32).to_le_bytes()),
            (DType::F32, None) => bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            (DType::F64, _) => bytes.extend_from_slice(&value.to_le_bytes()),
            (DType::F16, _) => bytes.extend_from_slice(&half::f16::from_f64(value).to_le_bytes()),
            (_, _) => bytes.extend_from_slice(&half::bf16::from_f64(value).to_le_bytes()),
        }
    }
    Tensor::from_bytes(dtype, shape, &bytes).unwrap()
}

/// One application of an operator.
pub struct Case {
    pub op: &'static str,
    pub attrs: Attrs,
    pub inputs: Vec<Option<Tensor>>,
    pub outputs: usize,
}

impl Case {
    pub fn new(op: &'static str, attrs: Attrs, inputs: Vec<Tensor>) -> Case {
        Case { op, attrs, inputs: inputs.into_iter().map(Some).collect(), outputs: 1 }
    }

    /// Checks the kernel against the reference; inputs named in `panels` are also given in panels.
    #[track_caller]
    pub fn check_with_panels(&self, panels: &[usize]) {
        let def = ops::by_name(self.op).unwrap_or_else(|| panic!("operator {}", self.op));
        let attrs = def.check_attrs(&self.attrs).unwrap();
        let views: Vec<Option<TensorView<'_>>> =
            self.inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        ops::infer_known(def, &attrs, &views, self.outputs).unwrap();
        let wanted = (def.eval)(&EvalCtx { attrs: &attrs, inputs: &views, outputs: self.outputs });
        let operands: Vec<Option<Operand<'_>>> = views.iter().map(|v| v.map(Operand::from)).collect();
        self.run(def, &attrs, &operands, &wanted);
        if !panels.is_empty() {
            let packed: Vec<Tensor> = panels
                .iter()
                .map(|&index| {
                    let view = views[index].unwrap();
                    let bytes = pack_panel16(view);
                    Tensor::from_bytes(view.dtype, &[bytes.len() / view.dtype.size()], &bytes).unwrap()
                })
                .collect();
            let mut operands = operands.clone();
            for (&index, packed) in panels.iter().zip(&packed) {
                let shape = views[index].unwrap().shape;
                operands[index] = Some(Operand {
                    dtype: packed.dtype(),
                    shape,
                    bytes: packed.bytes(),
                    layout: Layout::Panel16,
                });
            }
            self.run(def, &attrs, &operands, &wanted);
        }
    }

    #[track_caller]
    pub fn check(&self) {
        self.check_with_panels(&[]);
    }

    #[track_caller]
    fn run(
        &self,
        def: &OpDef,
        attrs: &Attrs,
        operands: &[Option<Operand<'_>>],
        wanted: &Result<Vec<Tensor>, ops::OpError>,
    ) {
        let dtypes: Vec<Option<DType>> = operands.iter().map(|o| o.map(|o| o.dtype)).collect();
        let kernel = lookup(def.id, def.version, &dtypes)
            .unwrap_or_else(|| panic!("a kernel of {} for {dtypes:?}", self.op));
        for isa in Isa::available() {
            for pool in POOLS.iter() {
                let shapes: Vec<_> = operands.iter().map(|o| o.map(|o| o.shape.to_vec())).collect();
                let place = format!(
                    "{} {dtypes:?} {shapes:?} {attrs:?}, {} on {} threads",
                    self.op,
                    isa.name(),
                    pool.current_num_threads()
                );
                // Garbage shows elements that are not written.
                let mut outputs: Vec<Tensor> = match wanted {
                    Ok(wanted) => {
                        wanted.iter().map(|t| Tensor::zeros(t.dtype(), t.shape()).unwrap()).collect()
                    }
                    Err(_) => Vec::new(),
                };
                for output in &mut outputs {
                    output.bytes_mut().fill(0xa5);
                }
                let mut views: Vec<_> = outputs.iter_mut().map(Tensor::view_mut).collect();
                let result = pool.install(|| kernel(&KernelCtx { isa, attrs }, operands, &mut views));
                match wanted {
                    Err(error) => assert_eq!(result.as_ref(), Err(error), "{place}"),
                    Ok(wanted) => {
                        result.unwrap_or_else(|error| panic!("{error}: {place}"));
                        for (index, (got, want)) in outputs.iter().zip(wanted).enumerate() {
                            compare(got, want, &format!("output {index} of {place}"));
                        }
                    }
                }
            }
        }
    }
}

#[track_caller]
pub fn compare(got: &Tensor, want: &Tensor, place: &str) {
    if got.bytes() == want.bytes() {
        return;
    }
    let size = want.dtype().size();
    let pairs = got.bytes().chunks(size).zip(want.bytes().chunks(size));
    let different: Vec<usize> = pairs.enumerate().filter(|(_, (g, w))| g != w).map(|(at, _)| at).collect();
    let at = different[0];
    panic!(
        "{} of {} elements differ, first {at}: {:02x?}, expected {:02x?} (little-endian); {place}",
        different.len(),
        want.len(),
        &got.bytes()[at * size..][..size],
        &want.bytes()[at * size..][..size],
    );
}
