//! The symbolic lane: instantiated with it, a scalar function writes down what it would compute.
//!
//! Values are numbers of nodes in a graph that the current thread records ([`record`]). Equal nodes are recorded
//! once. Nothing is folded or reordered: the graph is the function's definition, operation by operation.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::lane::{FloatLane, IntLane, Lane, Lane64, MaskLane};

/// The number of a node; operands have lower numbers than what uses them.
pub type NodeId = u32;

/// What a node's value is, in every lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    F32,
    F64,
    U32,
    U64,
    Mask,
}

/// One operation. The type of a node follows from it and its operands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Node {
    Input(u32, Kind),
    /// Bits of a constant, in as many low bits as the kind has.
    Constant(u64, Kind),
    Unary(Unary, NodeId),
    Binary(Binary, NodeId, NodeId),
    /// `.0 * .1 + .2`, rounded once.
    Fma(NodeId, NodeId, NodeId),
    /// Ordered comparison of floats, equality of integers.
    Compare(Compare, NodeId, NodeId),
    /// `.0 ? .1 : .2`
    Select(NodeId, NodeId, NodeId),
    Shift(Shift, NodeId, u32),
    /// `table[index mod length]`
    Lookup(u32, NodeId),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Unary {
    Sqrt,
    /// Flips the sign bit.
    Neg,
    Abs,
    /// f32 to f64, exact.
    Widen,
    /// f64 to f32, rounded to nearest, ties to even.
    Narrow,
    /// Between a float and the integer of its width.
    Bitcast,
    Not,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    CopySign,
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Compare {
    Equal,
    Less,
    LessEqual,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Shift {
    Left,
    /// Fills with zeros.
    Right,
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Recording {
    pub nodes: Vec<(Node, Kind)>,
    /// Bits of the f64 tables that look-ups name; lengths are powers of two.
    pub tables: Vec<Vec<u64>>,
    known: BTreeMap<Node, NodeId>,
}

impl Recording {
    fn push(&mut self, node: Node, kind: Kind) -> NodeId {
        let next = NodeId::try_from(self.nodes.len()).expect("fewer than 2^32 nodes");
        *self.known.entry(node).or_insert_with(|| {
            self.nodes.push((node, kind));
            next
        })
    }

    fn table(&mut self, bits: Vec<u64>) -> u32 {
        let at = self.tables.iter().position(|table| *table == bits).unwrap_or_else(|| {
            self.tables.push(bits);
            self.tables.len() - 1
        });
        u32::try_from(at).expect("fewer than 2^32 tables")
    }

    pub fn kind(&self, node: NodeId) -> Kind {
        self.nodes[node as usize].1
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

/// Records what `f` does with symbolic lanes on this thread.
///
/// # Panics
/// If called within itself.
pub fn record<T>(f: impl FnOnce() -> T) -> (Recording, T) {
    /// Leaves nothing behind for the next recording, even after a panic.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            CURRENT.set(None);
        }
    }
    let nested = CURRENT.replace(Some(Recording::default()));
    assert!(nested.is_none(), "a recording within a recording");
    let _reset = Reset;
    let result = f();
    (CURRENT.take().expect("the recording begun above"), result)
}

fn with<T>(f: impl FnOnce(&mut Recording) -> T) -> T {
    CURRENT.with_borrow_mut(|current| f(current.as_mut().expect("symbolic lanes are used while recording")))
}

fn push(node: Node, kind: Kind) -> NodeId {
    with(|recording| recording.push(node, kind))
}

macro_rules! symbols {
    ($($name:ident $kind:ident $doc:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub struct $name(pub NodeId);

        #[allow(dead_code, reason = "not every kind has a use for every one")]
        impl $name {
            /// The recorded function's input `index`.
            pub fn input(index: u32) -> Self {
                Self(push(Node::Input(index, Kind::$kind), Kind::$kind))
            }

            fn constant(bits: u64) -> Self {
                Self(push(Node::Constant(bits, Kind::$kind), Kind::$kind))
            }

            fn unary(op: Unary, operand: NodeId) -> Self {
                Self(push(Node::Unary(op, operand), Kind::$kind))
            }

            fn binary(op: Binary, a: Self, b: Self) -> Self {
                Self(push(Node::Binary(op, a.0, b.0), Kind::$kind))
            }

            fn choose(mask: SymMask, if_true: Self, if_false: Self) -> Self {
                Self(push(Node::Select(mask.0, if_true.0, if_false.0), Kind::$kind))
            }

            fn compare(op: Compare, a: Self, b: Self) -> SymMask {
                SymMask(push(Node::Compare(op, a.0, b.0), Kind::Mask))
            }
        }
    )*};
}

symbols! {
    SymMask Mask "A symbolic truth value.";
    SymU32 U32 "A symbolic 32-bit integer.";
    SymU64 U64 "A symbolic 64-bit integer.";
    SymF32 F32 "A symbolic f32.";
    SymF64 F64 "A symbolic f64.";
}

impl MaskLane for SymMask {
    fn and(self, other: Self) -> Self {
        Self::binary(Binary::And, self, other)
    }
    fn or(self, other: Self) -> Self {
        Self::binary(Binary::Or, self, other)
    }
    fn not(self) -> Self {
        Self::unary(Unary::Not, self.0)
    }
}

macro_rules! int_lane {
    ($name:ident, $word:ty, $kind:ident) => {
        impl IntLane for $name {
            type Word = $word;
            type Mask = SymMask;

            fn splat(word: $word) -> Self {
                Self::constant(u64::from(word))
            }
            fn add(self, other: Self) -> Self {
                Self::binary(Binary::Add, self, other)
            }
            fn sub(self, other: Self) -> Self {
                Self::binary(Binary::Sub, self, other)
            }
            fn and(self, other: Self) -> Self {
                Self::binary(Binary::And, self, other)
            }
            fn or(self, other: Self) -> Self {
                Self::binary(Binary::Or, self, other)
            }
            fn xor(self, other: Self) -> Self {
                Self::binary(Binary::Xor, self, other)
            }
            fn shl(self, count: u32) -> Self {
                assert!(count < <$word>::BITS, "a shift by {count}");
                Self(push(Node::Shift(Shift::Left, self.0, count), Kind::$kind))
            }
            fn shr(self, count: u32) -> Self {
                assert!(count < <$word>::BITS, "a shift by {count}");
                Self(push(Node::Shift(Shift::Right, self.0, count), Kind::$kind))
            }
            fn equal(self, other: Self) -> SymMask {
                Self::compare(Compare::Equal, self, other)
            }
            fn select(mask: SymMask, if_true: Self, if_false: Self) -> Self {
                Self::choose(mask, if_true, if_false)
            }
        }
    };
}

int_lane!(SymU32, u32, U32);
int_lane!(SymU64, u64, U64);

macro_rules! float_lane {
    ($name:ident, $scalar:ty, $bits:ident, $kind:ident) => {
        impl FloatLane for $name {
            type Scalar = $scalar;
            type Mask = SymMask;
            type Bits = $bits;

            fn splat(scalar: $scalar) -> Self {
                Self::constant(u64::from(scalar.to_bits()))
            }
            fn add(self, other: Self) -> Self {
                Self::binary(Binary::Add, self, other)
            }
            fn sub(self, other: Self) -> Self {
                Self::binary(Binary::Sub, self, other)
            }
            fn mul(self, other: Self) -> Self {
                Self::binary(Binary::Mul, self, other)
            }
            fn div(self, other: Self) -> Self {
                Self::binary(Binary::Div, self, other)
            }
            fn fma(self, factor: Self, addend: Self) -> Self {
                Self(push(Node::Fma(self.0, factor.0, addend.0), Kind::$kind))
            }
            fn sqrt(self) -> Self {
                Self::unary(Unary::Sqrt, self.0)
            }
            fn equal(self, other: Self) -> SymMask {
                Self::compare(Compare::Equal, self, other)
            }
            fn less(self, other: Self) -> SymMask {
                Self::compare(Compare::Less, self, other)
            }
            fn less_equal(self, other: Self) -> SymMask {
                Self::compare(Compare::LessEqual, self, other)
            }
            fn select(mask: SymMask, if_true: Self, if_false: Self) -> Self {
                Self::choose(mask, if_true, if_false)
            }
            fn to_bits(self) -> $bits {
                $bits::unary(Unary::Bitcast, self.0)
            }
            fn from_bits(bits: $bits) -> Self {
                Self::unary(Unary::Bitcast, bits.0)
            }
            fn neg(self) -> Self {
                Self::unary(Unary::Neg, self.0)
            }
            fn abs(self) -> Self {
                Self::unary(Unary::Abs, self.0)
            }
            fn copysign(self, sign: Self) -> Self {
                Self::binary(Binary::CopySign, self, sign)
            }
        }
    };
}

float_lane!(SymF32, f32, SymU32, F32);
float_lane!(SymF64, f64, SymU64, F64);

impl Lane for SymF32 {
    type F64 = SymF64;

    fn widen(self) -> SymF64 {
        SymF64::unary(Unary::Widen, self.0)
    }
    fn narrow(wide: SymF64) -> Self {
        Self::unary(Unary::Narrow, wide.0)
    }
}

impl Lane64 for SymF64 {
    fn lookup<const N: usize>(table: &'static [f64; N], index: SymU64) -> Self {
        const { assert!(N.is_power_of_two()) };
        with(|recording| {
            let table = recording.table(table.iter().map(|value| value.to_bits()).collect());
            Self(recording.push(Node::Lookup(table, index.0), Kind::F64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_operations_are_recorded_once() {
        let (recording, result) = record(|| {
            let x = SymF32::input(0);
            let y = x.mul(x);
            y.add(x.mul(x)).canonical_nan()
        });
        let products =
            recording.nodes.iter().filter(|(node, _)| matches!(node, Node::Binary(Binary::Mul, ..)));
        assert_eq!(products.count(), 1);
        assert_eq!(recording.kind(result.0), Kind::F32);
    }

    #[test]
    fn casts_of_one_node_to_both_kinds_stay_apart() {
        // A bitcast's kind follows from its operand's, so the key need not hold it.
        let (recording, (bits, back)) = record(|| {
            let bits = SymF32::input(0).to_bits();
            (bits, SymF32::from_bits(bits))
        });
        assert_eq!(recording.kind(bits.0), Kind::U32);
        assert_eq!(recording.kind(back.0), Kind::F32);
    }

    #[test]
    #[should_panic(expected = "while recording")]
    fn symbols_need_a_recording() {
        SymF32::splat(1.0);
    }
}
