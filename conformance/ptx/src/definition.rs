//! The float arithmetic of a scalar function's definition on given arguments, result by result.
//!
//! A function that is computed in more precision than its result has hides most of what could go wrong in it: a coefficient
//! that is off by little changes one result in many thousands. Its single operations hide nothing. The symbolic lane writes
//! them down; here they are computed, so that a kernel's own can be compared with them ([`crate::Interpreter::take_floats`]).
//!
//! Invariant: every operation is IEEE 754's on the host's f32 and f64, rounded to nearest; NaNs are one NaN.

use std::collections::BTreeSet;

use repops::lane_op::{BinaryOp, Math, UnaryOp};
use repops::symbolic::{
    Binary, Compare, Kind, Node, NodeId, Recording, Shift, SymF32, SymF64, SymMask, Unary, record,
};

/// Bits of results of float additions, subtractions, multiplications, divisions, roots and fused multiply-adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floats {
    pub single: BTreeSet<u32>,
    pub double: BTreeSet<u64>,
}

impl Floats {
    pub fn single(&mut self, bits: u32) {
        self.single.insert(if f32::from_bits(bits).is_nan() { 0x7fc0_0000 } else { bits });
    }

    pub fn double(&mut self, bits: u64) {
        self.double.insert(if f64::from_bits(bits).is_nan() { 0x7ff8 << 48 } else { bits });
    }

    /// What these have that `others` have not.
    pub fn beyond(&self, others: &Floats) -> Floats {
        Floats { single: &self.single - &others.single, double: &self.double - &others.double }
    }

    pub fn is_empty(&self) -> bool {
        self.single.is_empty() && self.double.is_empty()
    }
}

/// A float of a recording.
pub trait Symbol: Math<Mask = SymMask> {
    fn input(index: u32) -> Self;
    fn id(self) -> NodeId;
}

impl Symbol for SymF32 {
    fn input(index: u32) -> Self {
        SymF32::input(index)
    }
    fn id(self) -> NodeId {
        self.0
    }
}

impl Symbol for SymF64 {
    fn input(index: u32) -> Self {
        SymF64::input(index)
    }
    fn id(self) -> NodeId {
        self.0
    }
}

/// What a function of floats writes down.
#[derive(Debug)]
pub struct Definition {
    recording: Recording,
    result: NodeId,
}

impl Definition {
    pub fn unary<S: Symbol>(op: UnaryOp) -> Definition {
        Definition::of(|| op.apply(S::input(0)).id())
    }

    pub fn binary<S: Symbol>(op: BinaryOp) -> Definition {
        Definition::of(|| op.apply(S::input(0), S::input(1)).id())
    }

    /// Of anything written with symbols.
    pub fn of(f: impl FnOnce() -> NodeId) -> Definition {
        let (recording, result) = record(f);
        Definition { recording, result }
    }

    /// The result's bits for arguments given by theirs; results of arithmetic are added to `floats`.
    pub fn compute(&self, arguments: &[u64], floats: &mut Floats) -> u64 {
        let nodes = &self.recording.nodes;
        let mut values: Vec<u64> = Vec::with_capacity(nodes.len());
        for &(node, kind) in nodes {
            let at = |id: NodeId| values[id as usize];
            let value = match node {
                Node::Input(index, _) => arguments.get(index as usize).copied().unwrap_or(0),
                Node::Constant(bits, _) => bits,
                Node::Unary(op, a) => unary(op, at(a), self.recording.kind(a), kind),
                Node::Binary(op, a, b) => binary(op, at(a), at(b), kind),
                Node::Fma(a, b, c) => match kind {
                    Kind::F32 => wide(single(at(a)).mul_add(single(at(b)), single(at(c)))),
                    _ => double(at(a)).mul_add(double(at(b)), double(at(c))).to_bits(),
                },
                Node::Compare(op, a, b) => {
                    let (x, y) = (at(a), at(b));
                    u64::from(match self.recording.kind(a) {
                        Kind::F32 => ordered(op, f64::from(single(x)), f64::from(single(y))),
                        Kind::F64 => ordered(op, double(x), double(y)),
                        _ => x == y,
                    })
                }
                Node::Select(mask, a, b) => at(if at(mask) != 0 { a } else { b }),
                Node::Shift(shift, a, count) => {
                    let moved = if shift == Shift::Left { at(a) << count } else { at(a) >> count };
                    if kind == Kind::U32 { u64::from(moved as u32) } else { moved }
                }
                Node::Lookup(table, index) => {
                    let table = &self.recording.tables[table as usize];
                    table[at(index) as usize & (table.len() - 1)]
                }
            };
            let is_arithmetic = matches!(
                node,
                Node::Fma(..)
                    | Node::Unary(Unary::Sqrt, _)
                    | Node::Binary(Binary::Add | Binary::Sub | Binary::Mul | Binary::Div, ..)
            );
            match kind {
                Kind::F32 if is_arithmetic => floats.single(value as u32),
                Kind::F64 if is_arithmetic => floats.double(value),
                _ => {}
            }
            values.push(value);
        }
        values.get(self.result as usize).copied().unwrap_or(0)
    }
}

/// One operation on floats of a kind, noted among `floats`.
pub fn arithmetic(op: Binary, a: u64, b: u64, kind: Kind, floats: &mut Floats) -> u64 {
    let value = binary(op, a, b, kind);
    match kind {
        Kind::F32 => floats.single(value as u32),
        Kind::F64 => floats.double(value),
        _ => {}
    }
    value
}

fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn wide(x: f32) -> u64 {
    u64::from(x.to_bits())
}

fn ordered(op: Compare, a: f64, b: f64) -> bool {
    match op {
        Compare::Equal => a == b,
        Compare::Less => a < b,
        Compare::LessEqual => a <= b,
    }
}

fn unary(op: Unary, a: u64, from: Kind, kind: Kind) -> u64 {
    let sign = if kind == Kind::F64 { 1 << 63 } else { 1 << 31 };
    match op {
        Unary::Sqrt if kind == Kind::F64 => double(a).sqrt().to_bits(),
        Unary::Sqrt => wide(single(a).sqrt()),
        Unary::Neg => a ^ sign,
        Unary::Abs => a & !sign,
        Unary::Widen => f64::from(single(a)).to_bits(),
        Unary::Narrow => wide(double(a) as f32),
        Unary::Bitcast => a,
        Unary::Not if from == Kind::Mask => a ^ 1,
        Unary::Not => !a,
    }
}

fn binary(op: Binary, a: u64, b: u64, kind: Kind) -> u64 {
    let (x, y, u, v) = (single(a), single(b), double(a), double(b));
    match (op, kind) {
        (Binary::Add, Kind::F32) => wide(x + y),
        (Binary::Sub, Kind::F32) => wide(x - y),
        (Binary::Mul, Kind::F32) => wide(x * y),
        (Binary::Div, Kind::F32) => wide(x / y),
        (Binary::Add, Kind::F64) => (u + v).to_bits(),
        (Binary::Sub, Kind::F64) => (u - v).to_bits(),
        (Binary::Mul, Kind::F64) => (u * v).to_bits(),
        (Binary::Div, Kind::F64) => (u / v).to_bits(),
        (Binary::CopySign, Kind::F32) => wide(x.copysign(y)),
        (Binary::CopySign, _) => u.copysign(v).to_bits(),
        (Binary::And, _) => a & b,
        (Binary::Or, _) => a | b,
        (Binary::Xor, _) => a ^ b,
        (Binary::Add, Kind::U32) => u64::from((a as u32).wrapping_add(b as u32)),
        (Binary::Sub, Kind::U32) => u64::from((a as u32).wrapping_sub(b as u32)),
        (Binary::Mul, Kind::U32) => u64::from((a as u32).wrapping_mul(b as u32)),
        (Binary::Add, _) => a.wrapping_add(b),
        (Binary::Sub, _) => a.wrapping_sub(b),
        (Binary::Mul, _) => a.wrapping_mul(b),
        (Binary::Div, _) => a.checked_div(b).unwrap_or(0),
    }
}
