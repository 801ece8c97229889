//! Compiled regions, and how they are called.
#![allow(unsafe_code)]

use std::sync::{Arc, Mutex, PoisonError};

use repops::dtype::DType;
use repops::region::{RegionArg, RegionKernel};

use super::emit;
use super::jit::{Entry, Jit};
use super::sym::{Kind, NodeId, Recording};
use crate::Result;
use crate::mlir::{Context, Module};

/// The most elements of a vector, for any target.
const WIDTH_MAX: usize = 16;

/// A compiler for this machine, shared by the kernels whose code it holds.
#[derive(Clone)]
pub struct Compiler {
    jit: Arc<Mutex<Jit>>,
    width: usize,
}

/// What is to be compiled: a recording from inputs to results.
pub struct Function<'a> {
    pub recording: &'a Recording,
    pub inputs: &'a [Kind],
    pub results: &'a [NodeId],
}

impl Compiler {
    pub fn new() -> Result<Self> {
        Ok(Self { jit: Arc::new(Mutex::new(Jit::new()?)), width: width() })
    }

    pub fn compile(&self, function: &Function<'_>) -> Result<Kernel> {
        let context = Context::for_native_code();
        let text = emit::module_text(function.recording, function.inputs, function.results, self.width);
        let mut module = Module::parse(&context, &text)?;
        let mut jit = self.jit.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = jit.compile(&mut module, emit::ENTRY)?;
        drop(jit);
        let sizes = |kinds: &mut dyn Iterator<Item = Kind>| kinds.map(|kind| dtype(kind).size()).collect();
        Ok(Kernel {
            entry,
            width: self.width,
            inputs: sizes(&mut function.inputs.iter().copied()),
            results: sizes(&mut function.results.iter().map(|&node| function.recording.kind(node))),
            _code: Arc::clone(&self.jit),
        })
    }
}

/// How many elements a vector should have on this machine.
fn width() -> usize {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return 16;
    }
    8
}

/// How a kind is stored.
fn dtype(kind: Kind) -> DType {
    match kind {
        Kind::F32 => DType::F32,
        Kind::F64 => DType::F64,
        Kind::U32 => DType::U32,
        Kind::U64 => DType::U64,
        Kind::Mask => DType::Bool,
    }
}

/// A compiled function over elements.
pub struct Kernel {
    entry: Entry,
    width: usize,
    /// Bytes of an element of every input and result.
    inputs: Vec<usize>,
    results: Vec<usize>,
    /// Keeps the code alive.
    _code: Arc<Mutex<Jit>>,
}

type EntryFn = unsafe extern "C" fn(i64, *const *const u8, *const i64, *const *mut u8);

/// One vector of elements, aligned for any type.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Vector([u8; WIDTH_MAX * 8]);

impl RegionKernel for Kernel {
    fn evaluate(&self, n: usize, args: &[RegionArg<'_>], outputs: &mut [&mut [u8]]) {
        self.check(n, args, outputs);
        // One vector of every splat input, and of the remainder of every other.
        let mut splats = vec![Vector([0; WIDTH_MAX * 8]); args.len()];
        for ((vector, arg), &size) in splats.iter_mut().zip(args).zip(&self.inputs) {
            if let RegionArg::Splat(element) = arg {
                for place in vector.0[..self.width * size].chunks_exact_mut(size) {
                    place.copy_from_slice(element);
                }
            }
        }
        let strides: Vec<i64> =
            args.iter().map(|arg| i64::from(matches!(arg, RegionArg::Slice(_)))).collect();

        let whole = n - n % self.width;
        if whole > 0 {
            let inputs: Vec<*const u8> = args
                .iter()
                .zip(&splats)
                .map(|(arg, splat)| match arg {
                    RegionArg::Slice(bytes) => bytes.as_ptr(),
                    RegionArg::Splat(_) => splat.0.as_ptr(),
                })
                .collect();
            let results: Vec<*mut u8> = outputs.iter_mut().map(|bytes| bytes.as_mut_ptr()).collect();
            // SAFETY: `check` has made sure that slices and outputs hold `n` elements; a splat's stride is 0 and its
            // vector holds `width`.
            unsafe { self.call(whole, &inputs, &strides, &results) };
        }
        if whole < n {
            self.remainder(whole, n, args, &mut splats, outputs);
        }
    }
}

impl Kernel {
    /// The elements from `whole` on, fewer than a vector, by way of whole vectors.
    fn remainder(
        &self,
        whole: usize,
        n: usize,
        args: &[RegionArg<'_>],
        vectors: &mut [Vector],
        outputs: &mut [&mut [u8]],
    ) {
        for ((vector, arg), &size) in vectors.iter_mut().zip(args).zip(&self.inputs) {
            if let RegionArg::Slice(bytes) = arg {
                let rest = &bytes[whole * size..n * size];
                vector.0[..rest.len()].copy_from_slice(rest);
            }
        }
        let mut results = vec![Vector([0; WIDTH_MAX * 8]); outputs.len()];
        let input_places: Vec<*const u8> = vectors.iter().map(|vector| vector.0.as_ptr()).collect();
        let result_places: Vec<*mut u8> = results.iter_mut().map(|vector| vector.0.as_mut_ptr()).collect();
        // SAFETY: every place holds `width` elements of the widest type.
        unsafe { self.call(self.width, &input_places, &vec![0; args.len()], &result_places) };
        for ((vector, bytes), &size) in results.iter().zip(outputs).zip(&self.results) {
            let rest = &mut bytes[whole * size..n * size];
            rest.copy_from_slice(&vector.0[..rest.len()]);
        }
    }

    fn check(&self, n: usize, args: &[RegionArg<'_>], outputs: &[&mut [u8]]) {
        assert_eq!(args.len(), self.inputs.len(), "inputs of a region");
        assert_eq!(outputs.len(), self.results.len(), "outputs of a region");
        for (arg, &size) in args.iter().zip(&self.inputs) {
            let (bytes, expected) = match arg {
                RegionArg::Slice(bytes) => (bytes, n * size),
                RegionArg::Splat(bytes) => (bytes, size),
            };
            assert_eq!(bytes.len(), expected, "bytes of a region's input");
            assert!(bytes.as_ptr().addr().is_multiple_of(size), "a region's input is not aligned");
        }
        for (bytes, &size) in outputs.iter().zip(&self.results) {
            assert_eq!(bytes.len(), n * size, "bytes of a region's output");
            assert!(bytes.as_ptr().addr().is_multiple_of(size), "a region's output is not aligned");
        }
    }

    /// # Safety
    /// `count` is a multiple of the width. Input `k` can be read at `count` elements, or at `width` if its stride is
    /// 0; every result can be written at `count` elements and overlaps nothing.
    unsafe fn call(&self, count: usize, inputs: &[*const u8], strides: &[i64], results: &[*mut u8]) {
        debug_assert!(count.is_multiple_of(self.width));
        // SAFETY: the module emitted for this kernel defines its entry with this signature; `_code` keeps it alive.
        unsafe {
            let entry = std::mem::transmute::<*mut std::ffi::c_void, EntryFn>(self.entry.address().as_ptr());
            entry(count as i64, inputs.as_ptr(), strides.as_ptr(), results.as_ptr());
        }
    }
}

#[cfg(test)]
mod tests {
    use repops::lane::Lane;
    use repops::scalar;

    use super::*;
    use crate::native::sym::{SymF32, record};

    fn compile(compiler: &Compiler, f: impl FnOnce(SymF32) -> SymF32) -> Kernel {
        let (recording, result) = record(|| f(SymF32::input(0)));
        let function = Function { recording: &recording, inputs: &[Kind::F32], results: &[result.0] };
        compiler.compile(&function).unwrap()
    }

    /// Bit patterns that meet every exponent and sign, special values first.
    fn samples(count: usize) -> Vec<f32> {
        let special = [
            0x0000_0000,
            0x8000_0000,
            0x7F80_0000,
            0xFF80_0000,
            0x7FC0_0000,
            0xFFC0_1234,
            0x7F80_0001,
            0x0000_0001,
            0x8000_0001,
            0x007F_FFFF,
            0x0080_0000,
            0x3F80_0000,
            0xBF80_0000,
            0x7F7F_FFFF,
            0xFF7F_FFFF,
        ];
        let rest = (0u32..).map(|i| i.wrapping_mul(0x9E37_79B1) ^ (i >> 3));
        special.into_iter().chain(rest).take(count).map(f32::from_bits).collect()
    }

    fn check(name: &str, kernel: &Kernel, reference: fn(f32) -> f32) {
        // An odd remainder, and fewer elements than a vector.
        for count in [100_003, 5, 0] {
            let x = samples(count);
            let mut y = vec![0f32; count];
            let args = [RegionArg::Slice(bytemuck::cast_slice(&x))];
            kernel.evaluate(count, &args, &mut [bytemuck::cast_slice_mut(&mut y)]);
            for (x, y) in x.iter().zip(&y) {
                let expected = reference(*x);
                assert_eq!(y.to_bits(), expected.to_bits(), "{name}({x:e} = {:#x}) = {y:e}", x.to_bits());
            }
        }
    }

    macro_rules! scalar_functions {
        ($($name:ident),*) => {
            /// Every function of the table is compiled from the very definition the table's reference runs.
            #[test]
            fn scalar_functions_have_the_reference_bits() {
                let compiler = Compiler::new().unwrap();
                let compiled: Vec<(&str, Kernel)> =
                    vec![$((stringify!($name), compile(&compiler, |x| scalar::$name(x)))),*];
                for (name, kernel) in &compiled {
                    let function = scalar::FUNCTIONS.iter().find(|function| function.name == *name);
                    check(name, kernel, function.expect("a function of the table").f32);
                }
            }
        };
    }

    scalar_functions!(
        exp, exp2, expm1, log, log2, log1p, sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, erf
    );

    #[test]
    fn splats_reach_every_element() {
        let compiler = Compiler::new().unwrap();
        let (recording, result) = record(|| {
            use repops::lane::FloatLane;
            SymF32::input(0).fma(SymF32::input(1), SymF32::input(2)).canonical_nan()
        });
        let function = Function { recording: &recording, inputs: &[Kind::F32; 3], results: &[result.0] };
        let kernel = compiler.compile(&function).unwrap();
        let (x, z) = (samples(1003), samples(2006).split_off(1003));
        let factor = [1.234_567_9_f32];
        let mut y = vec![0f32; 1003];
        let args = [
            RegionArg::Slice(bytemuck::cast_slice(&x)),
            RegionArg::Splat(bytemuck::cast_slice(&factor)),
            RegionArg::Slice(bytemuck::cast_slice(&z)),
        ];
        kernel.evaluate(1003, &args, &mut [bytemuck::cast_slice_mut(&mut y)]);
        for i in 0..1003 {
            use repops::dtype::Element;
            let expected = x[i].mul_add(factor[0], z[i]).canonical();
            assert_eq!(y[i].to_bits(), expected.to_bits(), "element {i}");
        }
    }
}
