//! Lowers a module of arith, math, vector, scf and func to LLVM IR and compiles it for this machine's CPU.
//!
//! The edge to `cpp/Jit.cpp`.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;

use mlir_sys::MlirModule;

use crate::mlir::Module;
use crate::{CompileError, Result};

#[repr(C)]
struct RepopsJit {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn repopsJitCreate(error: *mut *mut c_char) -> *mut RepopsJit;
    fn repopsJitDestroy(jit: *mut RepopsJit);
    fn repopsStringFree(text: *mut c_char);
    fn repopsJitCompile(
        jit: *mut RepopsJit,
        module: MlirModule,
        entry: *const c_char,
        text: *mut *mut c_char,
        error: *mut *mut c_char,
    ) -> *mut c_void;
}

/// To the LLVM dialect. `convert-math-to-llvm` before all else, so that `math.fma` becomes the exact `llvm.fma`.
const LOWERING: &str = "builtin.module(convert-math-to-llvm, convert-scf-to-cf, convert-vector-to-llvm, \
                        convert-arith-to-llvm, convert-func-to-llvm, convert-cf-to-llvm, \
                        reconcile-unrealized-casts)";

/// Words that may not stand in what is emitted: each would let a target choose bits.
const INEXACT: [&str; 5] = ["fastmath", "contract", "vector.fma", "fmuladd", "vector.contract"];

/// The operations of `math` that do not become calls into a mathematical library.
const EXACT_MATH: [&str; 6] = ["fma", "sqrt", "absf", "copysign", "absi", "ctlz"];

/// Compiles modules, and holds the code of all it compiled.
pub struct Jit {
    raw: NonNull<RepopsJit>,
}

// SAFETY: the object is owned, and nothing of it is tied to the thread that made it; `compile` needs `&mut`.
unsafe impl Send for Jit {}
// SAFETY: nothing can be done through `&Jit`.
unsafe impl Sync for Jit {}

/// The entry point of a compiled module. Valid as long as its [`Jit`].
#[derive(Clone, Copy, Debug)]
pub struct Entry(NonNull<c_void>);

// SAFETY: an address of immutable code.
unsafe impl Send for Entry {}
// SAFETY: an address of immutable code.
unsafe impl Sync for Entry {}

impl Entry {
    pub fn address(self) -> NonNull<c_void> {
        self.0
    }
}

impl Jit {
    /// A compiler for the CPU this runs on.
    pub fn new() -> Result<Self> {
        let mut error = std::ptr::null_mut();
        // SAFETY: the function writes an owned text to `error` when it returns null.
        let raw = unsafe { repopsJitCreate(&mut error) };
        NonNull::new(raw).map(|raw| Self { raw }).ok_or_else(|| CompileError::Native { reason: take(error) })
    }

    /// Lowers and compiles `module`, and gives its function `entry`. The module is left lowered.
    pub fn compile(&mut self, module: &mut Module<'_>, entry: &str) -> Result<Entry> {
        self.compile_inner(module, entry, std::ptr::null_mut())
    }

    /// [`Jit::compile`], and the optimized LLVM IR.
    pub fn compile_to_text(&mut self, module: &mut Module<'_>, entry: &str) -> Result<(Entry, String)> {
        let mut text = std::ptr::null_mut();
        let entry = self.compile_inner(module, entry, &mut text)?;
        Ok((entry, take(text)))
    }

    fn compile_inner(
        &mut self,
        module: &mut Module<'_>,
        entry: &str,
        text: *mut *mut c_char,
    ) -> Result<Entry> {
        lower(module)?;
        let name =
            CString::new(entry).map_err(|_| CompileError::Native { reason: "a name with a NUL".into() })?;
        let mut error = std::ptr::null_mut();
        // SAFETY: all pointers are valid during the call; `text` is null or a place for an owned text; a null result
        // comes with an owned text in `error`.
        let address = unsafe {
            repopsJitCompile(self.raw.as_ptr(), module.inner().to_raw(), name.as_ptr(), text, &mut error)
        };
        NonNull::new(address).map(Entry).ok_or_else(|| CompileError::Native { reason: take(error) })
    }
}

impl Drop for Jit {
    fn drop(&mut self) {
        // SAFETY: created by `repopsJitCreate`, destroyed once.
        unsafe { repopsJitDestroy(self.raw.as_ptr()) }
    }
}

/// Takes over a text owned by the other side; empty for null.
/// Lowers a module to the LLVM dialect; nothing in it, before or after, may leave bits to a target.
pub(super) fn lower(module: &mut Module<'_>) -> Result<()> {
    check_exact(&module.to_text(false))?;
    let failed = |diagnostics: Vec<String>| CompileError::Native { reason: diagnostics.join("; ") };
    module.run_pipeline(LOWERING).map_err(failed)?;
    check_exact(&module.to_text(false))
}

/// A text that is ours now.
pub(super) fn take(text: *mut c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, so a text ending in NUL, owned by us, freed once.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        repopsStringFree(text);
        copy
    }
}

/// Refuses a module whose text holds anything that does not fix its bits.
pub fn check_exact(text: &str) -> Result<()> {
    let refused =
        |word: &str| CompileError::Native { reason: format!("`{word}` does not fix the bits of its result") };
    if let Some(word) = INEXACT.iter().find(|word| text.contains(**word)) {
        return Err(refused(word));
    }
    for (at, _) in text.match_indices("math.") {
        let name: String =
            text[at + 5..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        if !EXACT_MATH.contains(&name.as_str()) {
            return Err(refused(&format!("math.{name}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mlir::Context;

    /// y[i] = fma(x[i], a[i], y[i]) by 16 lanes, n a multiple of 16.
    const FMA_LOOP: &str = r#"
        func.func @axpy(%n: i64, %a: !llvm.ptr, %x: !llvm.ptr, %y: !llvm.ptr) {
          %zero = arith.constant 0 : i64
          %step = arith.constant 16 : i64
          scf.for %i = %zero to %n step %step : i64 {
            %ap = llvm.getelementptr %a[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
            %xp = llvm.getelementptr %x[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
            %yp = llvm.getelementptr %y[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
            %av = llvm.load %ap {alignment = 4 : i64} : !llvm.ptr -> vector<16xf32>
            %xv = llvm.load %xp {alignment = 4 : i64} : !llvm.ptr -> vector<16xf32>
            %yv = llvm.load %yp {alignment = 4 : i64} : !llvm.ptr -> vector<16xf32>
            %r = math.fma %xv, %av, %yv : vector<16xf32>
            llvm.store %r, %yp {alignment = 4 : i64} : vector<16xf32>, !llvm.ptr
          }
          return
        }
    "#;

    #[test]
    fn compiled_fma_equals_mul_add() {
        let context = Context::for_native_code();
        let mut module = Module::parse(&context, FMA_LOOP).unwrap();
        let mut jit = Jit::new().unwrap();
        let (entry, text) = jit.compile_to_text(&mut module, "axpy").unwrap();
        assert!(text.contains("@llvm.fma.v16f32"), "{text}");

        // Values whose product does not fit in 24 bits, so that a rounding between would show; some subnormal.
        let value =
            |i: u32, k: u32| f32::from_bits((i.wrapping_mul(0x9E37_79B9) ^ k) & 0x3FFF_FFFF | (i << 31));
        let a: Vec<f32> = (0..4096).map(|i| value(i, 1)).collect();
        let x: Vec<f32> = (0..4096).map(|i| value(i, 0x5bd1_e995)).collect();
        let before: Vec<f32> = (0..4096).map(|i| value(i + 7, 0x1b87_3593)).collect();
        let mut y = before.clone();
        // SAFETY: the compiled function has this signature, and reads and writes 4096 elements of each.
        unsafe {
            type Axpy = extern "C" fn(i64, *const f32, *const f32, *mut f32);
            let axpy: Axpy = std::mem::transmute(entry.address().as_ptr());
            axpy(4096, a.as_ptr(), x.as_ptr(), y.as_mut_ptr());
        }
        let mut rounded_between = 0;
        for i in 0..4096 {
            let expected = x[i].mul_add(a[i], before[i]);
            assert_eq!(y[i].to_bits(), expected.to_bits(), "element {i}");
            rounded_between += usize::from((x[i] * a[i] + before[i]).to_bits() != expected.to_bits());
        }
        assert!(rounded_between > 0, "the inputs do not tell a fused from an unfused product");
    }

    #[test]
    fn inexact_operations_are_refused() {
        let body = |line: &str| {
            format!(
                "func.func @f(%x: vector<16xf32>) -> vector<16xf32> {{\n{line}\nreturn %r : vector<16xf32>\n}}"
            )
        };
        for line in [
            "%r = math.exp %x : vector<16xf32>",
            "%r = math.powf %x, %x : vector<16xf32>",
            "%r = arith.addf %x, %x fastmath<reassoc> : vector<16xf32>",
            "%r = vector.fma %x, %x, %x : vector<16xf32>",
            r#"%r = llvm.intr.fmuladd(%x, %x, %x) : (vector<16xf32>, vector<16xf32>, vector<16xf32>) -> vector<16xf32>"#,
            r#"%r = llvm.fadd %x, %x {fastmathFlags = #llvm.fastmath<nsz>} : vector<16xf32>"#,
        ] {
            let context = Context::for_native_code();
            let mut module = Module::parse(&context, &body(line)).unwrap();
            let error = Jit::new().unwrap().compile(&mut module, "f").unwrap_err();
            assert!(matches!(error, CompileError::Native { .. }), "{line}");
        }
        // The second line of defence looks at instructions, not at text.
        let context = Context::for_native_code();
        let line = r#"%r = llvm.intr.exp(%x) : (vector<16xf32>) -> vector<16xf32>"#;
        let mut module = Module::parse(&context, &body(line)).unwrap();
        let error = Jit::new().unwrap().compile(&mut module, "f").unwrap_err().to_string();
        assert!(error.contains("inexact instruction"), "{error}");
    }

    #[test]
    fn calls_out_of_the_module_do_not_link() {
        let text = "func.func private @expf(f32) -> f32\n\
                    func.func @f(%x: f32) -> f32 {\n%r = func.call @expf(%x) : (f32) -> f32\nreturn %r : f32\n}";
        let context = Context::for_native_code();
        let mut module = Module::parse(&context, text).unwrap();
        assert!(Jit::new().unwrap().compile(&mut module, "f").is_err());
    }
}
