//! The inputs of each f32 function whose f64 evaluation rounds to the wrong f32, with the right results.
//!
//! Found by `cargo xtask prove`, which evaluates all 2^32 inputs and prints such pairs. Even and odd
//! functions list magnitudes.

pub(super) const EXP: [(u32, u32); 0] = [];
pub(super) const EXP2: [(u32, u32); 2] = [(0x3b429d37, 0x3f804385), (0xbcf3a937, 0x3f7ac6b1)];
pub(super) const EXPM1: [(u32, u32); 0] = [];
pub(super) const LOG: [(u32, u32); 0] = [];
pub(super) const LOG2: [(u32, u32); 0] = [];
pub(super) const LOG1P: [(u32, u32); 0] = [];
pub(super) const SIN: [(u32, u32); 0] = [];
pub(super) const COS: [(u32, u32); 0] = [];
pub(super) const TAN: [(u32, u32); 0] = [];
pub(super) const ASIN: [(u32, u32); 0] = [];
pub(super) const ACOS: [(u32, u32); 0] = [];
pub(super) const ATAN: [(u32, u32); 0] = [];
pub(super) const SINH: [(u32, u32); 0] = [];
pub(super) const COSH: [(u32, u32); 0] = [];
pub(super) const TANH: [(u32, u32); 0] = [];
pub(super) const ERF: [(u32, u32); 0] = [];
