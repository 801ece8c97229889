//! The numbers by which kernels name element-wise operators.
//!
//! A kernel chooses among the functions of `generated/scalar.cuh` by such a number; that file and the launches take it
//! from here, so that they cannot disagree. The numbers are of no meaning outside of this crate.

use repops::lane_op::{BinaryOp, ClassifyOp, CompareOp, LogicOp, UnaryOp};

/// A unary operator made of its two parameters.
pub type MakeUnary = fn(f32, f32) -> UnaryOp;

/// Unary operators made of basic arithmetic alone; their number is their place.
pub const ARITHMETIC: &[(&str, MakeUnary)] = &[
    ("abs", |_, _| UnaryOp::Abs),
    ("neg", |_, _| UnaryOp::Neg),
    ("sign", |_, _| UnaryOp::Sign),
    ("floor", |_, _| UnaryOp::Floor),
    ("ceil", |_, _| UnaryOp::Ceil),
    ("round", |_, _| UnaryOp::Round),
    ("sqrt", |_, _| UnaryOp::Sqrt),
    ("reciprocal", |_, _| UnaryOp::Reciprocal),
    ("relu", |_, _| UnaryOp::Relu),
    ("leaky_relu", |alpha, _| UnaryOp::LeakyRelu { alpha }),
    ("thresholded_relu", |alpha, _| UnaryOp::ThresholdedRelu { alpha }),
    ("hard_sigmoid", |alpha, beta| UnaryOp::HardSigmoid { alpha, beta }),
    ("hard_swish", |_, _| UnaryOp::HardSwish),
    ("shrink", |lambd, bias| UnaryOp::Shrink { lambd, bias }),
    ("softsign", |_, _| UnaryOp::Softsign),
];

/// All others; their numbers follow.
pub const FUNCTIONS: &[(&str, MakeUnary)] = &[
    ("exp", |_, _| UnaryOp::Exp),
    ("log", |_, _| UnaryOp::Log),
    ("erf", |_, _| UnaryOp::Erf),
    ("sin", |_, _| UnaryOp::Sin),
    ("cos", |_, _| UnaryOp::Cos),
    ("tan", |_, _| UnaryOp::Tan),
    ("asin", |_, _| UnaryOp::Asin),
    ("acos", |_, _| UnaryOp::Acos),
    ("atan", |_, _| UnaryOp::Atan),
    ("sinh", |_, _| UnaryOp::Sinh),
    ("cosh", |_, _| UnaryOp::Cosh),
    ("tanh", |_, _| UnaryOp::Tanh),
    ("sigmoid", |_, _| UnaryOp::Sigmoid),
    ("swish", |alpha, _| UnaryOp::Swish { alpha }),
    ("softplus", |_, _| UnaryOp::Softplus),
    ("mish", |_, _| UnaryOp::Mish),
    ("elu", |alpha, _| UnaryOp::Elu { alpha }),
    ("selu", |alpha, gamma| UnaryOp::Selu { alpha, gamma }),
    ("celu", |alpha, _| UnaryOp::Celu { alpha }),
    ("gelu", |_, _| UnaryOp::Gelu),
    ("gelu_tanh", |_, _| UnaryOp::GeluTanh),
];

/// Functions of f64 that kernels do not have, since they take thousands of operations.
pub const LONG_F64: &[&str] = &["erf", "gelu"];

/// Binary operators.
pub const BINARY: &[(&str, BinaryOp)] = &[
    ("add", BinaryOp::Add),
    ("sub", BinaryOp::Sub),
    ("mul", BinaryOp::Mul),
    ("div", BinaryOp::Div),
    ("max", BinaryOp::Max),
    ("min", BinaryOp::Min),
    ("prelu", BinaryOp::PRelu),
    ("pow", BinaryOp::Pow),
];

/// Comparisons.
pub const COMPARE: &[(&str, CompareOp)] = &[
    ("equal", CompareOp::Equal),
    ("less", CompareOp::Less),
    ("less_or_equal", CompareOp::LessOrEqual),
    ("greater", CompareOp::Greater),
    ("greater_or_equal", CompareOp::GreaterOrEqual),
];

/// Tests of one number.
pub const CLASSIFY: &[(&str, ClassifyOp)] = &[
    ("is_nan", ClassifyOp::IsNaN),
    ("is_inf", ClassifyOp::IsInf { negative: true, positive: true }),
    ("is_minus_inf", ClassifyOp::IsInf { negative: true, positive: false }),
    ("is_plus_inf", ClassifyOp::IsInf { negative: false, positive: true }),
    ("is_no_inf", ClassifyOp::IsInf { negative: false, positive: false }),
];

/// Operators on truth values.
pub const LOGIC: &[(&str, LogicOp)] = &[("and", LogicOp::And), ("or", LogicOp::Or), ("xor", LogicOp::Xor)];

/// A unary operator as kernels take it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct UnaryCode {
    pub code: u32,
    pub parameters: [f32; 2],
}

/// The number and parameters of a unary operator.
pub fn unary(op: UnaryOp) -> UnaryCode {
    let parameters = match op {
        UnaryOp::LeakyRelu { alpha }
        | UnaryOp::ThresholdedRelu { alpha }
        | UnaryOp::Swish { alpha }
        | UnaryOp::Elu { alpha }
        | UnaryOp::Celu { alpha } => [alpha, 0.0],
        UnaryOp::HardSigmoid { alpha, beta } => [alpha, beta],
        UnaryOp::Shrink { lambd, bias } => [lambd, bias],
        UnaryOp::Selu { alpha, gamma } => [alpha, gamma],
        _ => [0.0, 0.0],
    };
    let is_it = |make: MakeUnary| std::mem::discriminant(&make(0.0, 0.0)) == std::mem::discriminant(&op);
    let all = ARITHMETIC.iter().chain(FUNCTIONS);
    let code = all.take_while(|(_, make)| !is_it(*make)).count() as u32;
    UnaryCode { code, parameters }
}

/// Whether the operator with this number is made of basic arithmetic alone.
pub fn is_arithmetic(code: u32) -> bool {
    (code as usize) < ARITHMETIC.len()
}

/// Whether kernels have the operator with this number on f64.
pub fn has_f64(code: u32) -> bool {
    let name = ARITHMETIC.iter().chain(FUNCTIONS).map(|(name, _)| *name).nth(code as usize);
    name.is_some_and(|name| !LONG_F64.contains(&name))
}

fn place<T: PartialEq>(list: &[(&str, T)], op: T) -> u32 {
    list.iter().take_while(|(_, own)| *own != op).count() as u32
}

pub fn binary(op: BinaryOp) -> u32 {
    place(BINARY, op)
}

pub fn compare(op: CompareOp) -> u32 {
    place(COMPARE, op)
}

pub fn classify(op: ClassifyOp) -> u32 {
    place(CLASSIFY, op)
}

pub fn logic(op: LogicOp) -> u32 {
    place(LOGIC, op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_has_its_number() {
        for (at, (name, make)) in ARITHMETIC.iter().chain(FUNCTIONS).enumerate() {
            let code = unary(make(0.25, 3.0));
            assert_eq!(code.code as usize, at, "{name}");
            assert_eq!(make(code.parameters[0], code.parameters[1]), make(0.25, 3.0), "{name}");
        }
        assert_eq!((binary(BinaryOp::Pow), compare(CompareOp::Greater)), (7, 3));
        assert_eq!((classify(ClassifyOp::IsNaN), logic(LogicOp::Xor)), (0, 2));
    }
}
