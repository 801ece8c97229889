//! Lowers a module of arith, math, vector, scf and func to PTX: by the pipeline that code for CPUs takes, and with its checks.
//!
//! The edge to `cpp/Ptx.cpp`. Invariant: the text computes floats by instructions alone that say that they round to nearest, or
//! that do not round.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};

use mlir_sys::MlirModule;

use super::jit::{lower, take};
use crate::mlir::Module;
use crate::{CompileError, Result};

unsafe extern "C" {
    fn repopsPtx(
        module: MlirModule,
        chip: *const c_char,
        features: *const c_char,
        error: *mut *mut c_char,
    ) -> *mut c_char;
}

/// As the shipped kernels: for Turing, which all newer devices take, in the PTX of CUDA 11.
const CHIP: &str = "sm_75";
const FEATURES: &str = "+ptx70";

/// The PTX of a module whose functions all are entries. The module is left lowered.
pub fn compile(module: &mut Module<'_>) -> Result<String> {
    lower(module)?;
    let chip = CString::new(CHIP).expect("no NUL in it");
    let features = CString::new(FEATURES).expect("no NUL in it");
    let mut error = std::ptr::null_mut();
    // SAFETY: all pointers are valid during the call; what is returned is an owned text, or null with one in `error`.
    let text = unsafe { repopsPtx(module.inner().to_raw(), chip.as_ptr(), features.as_ptr(), &mut error) };
    if text.is_null() {
        return Err(CompileError::Native { reason: take(error) });
    }
    let text = without_reciprocals(&take(text));
    check_rounding(&text)?;
    Ok(text)
}

/// Divisions of 1 as divisions: NVPTX makes them reciprocals, whose bits rest on tables in the hardware.
fn without_reciprocals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let divided =
            [("rcp.rn.f32", "div.rn.f32", "0f3F800000"), ("rcp.rn.f64", "div.rn.f64", "0d3FF0000000000000")]
                .into_iter()
                .find_map(|(reciprocal, division, one)| {
                    let (before, operands) = line.split_once(reciprocal)?;
                    let (result, divisor) = operands.split_once(',')?;
                    Some(format!("{before}{division}{result}, {one},{divisor}"))
                });
        out.push_str(divided.as_deref().unwrap_or(line));
    }
    out
}

/// Operations on floats that do not round.
const EXACT: [&str; 13] =
    ["abs", "neg", "copysign", "setp", "selp", "mov", "ld", "st", "min", "max", "cvt", "testp", "set"];

/// Refuses a text in which a float operation rounds without saying how, or flushes subnormals.
pub fn check_rounding(text: &str) -> Result<()> {
    for line in text.lines() {
        let words = line.trim().trim_start_matches('{').split_whitespace();
        // Behind a label or a predicate stands the instruction.
        let opcode = words.clone().find(|word| !word.starts_with('@') && !word.ends_with(':'));
        let Some(opcode) = opcode.filter(|opcode| !opcode.starts_with(['.', '/'])) else { continue };
        let mut parts = opcode.trim_end_matches(';').split('.');
        let name = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        let is_float = parts.iter().any(|part| matches!(*part, "f16" | "f32" | "f64" | "bf16" | "f32x2"));
        let relaxed =
            ["ftz", "approx", "full", "sat", "rz", "rm", "rp"].iter().any(|word| parts.contains(word));
        if is_float && (relaxed || !(EXACT.contains(&name) || parts.contains(&"rn"))) {
            return Err(CompileError::Native { reason: format!("`{}` does not fix its bits", line.trim()) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_say_how_it_rounds_is_refused() {
        for line in [
            "\tadd.rn.f32 \t%f1, %f2, %f3;",
            "\t@%p1 fma.rn.f64 %d1, %d2, %d3, %d4;",
            "cvt.f64.f32 %d1, %f1;",
            "add.s32 %r1, %r2, %r3;",
            "// mul.f32",
            "$L__BB0_1:",
        ] {
            check_rounding(line).unwrap();
        }
        for line in [
            "\tadd.f32 \t%f1, %f2, %f3;",
            "@%p1 fma.rn.ftz.f32 %f1, %f2, %f3, %f4;",
            "$L1: div.full.f32 %f1, %f2, %f3;",
            "sqrt.approx.f32 %f1, %f2;",
            "ex2.approx.ftz.f32 %f1, %f2;",
            "cvt.rz.f32.f64 %f1, %d1;",
            "rcp.approx.ftz.f64 %d1, %d2;",
        ] {
            check_rounding(line).unwrap_err();
        }
    }

    #[test]
    fn reciprocals_become_divisions() {
        let text = "\trcp.rn.f64 \t%rd1, %rd2;\n\tadd.rn.f32 %r1, %r2, %r3;\n@%p1 rcp.rn.f32 %r1, %r2;\n";
        let wanted = "\tdiv.rn.f64 \t%rd1, 0d3FF0000000000000, %rd2;\n\tadd.rn.f32 %r1, %r2, %r3;\n\
                      @%p1 div.rn.f32 %r1, 0f3F800000, %r2;\n";
        assert_eq!(without_reciprocals(text), wanted);
    }
}
