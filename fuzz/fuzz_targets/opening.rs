//! Fuzz target: see `repops_conformance::hostile::opening`.
#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    repops_conformance::hostile::opening(bytes);
});
