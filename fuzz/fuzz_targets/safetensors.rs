//! Fuzz target: see `repops_conformance::hostile::safetensors`.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    repops_conformance::hostile::safetensors(bytes);
});
