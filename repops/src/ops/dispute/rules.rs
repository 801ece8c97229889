//! Which rule decides a dispute about each operator.

use super::crop::{self, Cut};
use super::series::{self, Formula};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, Term, contract, movement, normalize, reduce};
use crate::dtype::DType;
use crate::ops::{OpClass, OpDef};

/// How a dispute about an element of an output is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The operator on a part of the inputs.
    Crop(Cut),
    /// The element is one that an input holds, or a constant.
    Move,
    /// The element follows from the inputs' types.
    Types,
    /// By the tree of its contraction, chunk, and sixteen terms.
    Contraction,
    /// By the trees of the sums and maxima of its row, and sixteen elements.
    Reduction,
    Normalization,
    /// The step's outputs are those of blocks' steps, whose records come before its own.
    Blocks,
}

impl Rule {
    /// In a few words, for documentation.
    pub fn describe(self) -> &'static str {
        match self {
            Rule::Crop(Cut::Point) => "one element",
            Rule::Crop(Cut::Quantized) => "one element and its scale",
            Rule::Crop(Cut::Channel) => "one element and its channel's parameters",
            Rule::Crop(Cut::Row) => "one row of at most 128 KiB",
            Rule::Crop(Cut::Plane) => "one plane of at most 128 KiB",
            Rule::Crop(Cut::Whole) => "the whole step, with at most 128 KiB of inputs and 1 MiB of outputs",
            Rule::Move => "one element moved",
            Rule::Types => "one element, from types",
            Rule::Contraction => "16 terms of a chunk",
            Rule::Reduction | Rule::Normalization => "16 elements of a row",
            Rule::Blocks => "the records of its blocks",
        }
    }
}

/// The rule of an operator: that of its class, unless its row has one of its own.
pub fn rule(def: &OpDef) -> Rule {
    match def.name {
        "Region" => return Rule::Crop(Cut::Point),
        "QuantizeLinear" | "DequantizeLinear" => return Rule::Crop(Cut::Quantized),
        "BatchNormalization" => return Rule::Crop(Cut::Channel),
        "MatMul" | "MatMulBlocks" | "Gemm" | "Conv" | "MatMulInteger" | "ConvInteger" | "QLinearMatMul"
        | "QLinearConv" => {
            return Rule::Contraction;
        }
        "ReduceSum" | "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp"
        | "ReduceSumSquare" | "ReduceMax" | "ReduceMin" | "Softmax" | "LogSoftmax" | "GlobalAveragePool"
        | "GlobalMaxPool" => return Rule::Reduction,
        "LayerNormalization"
        | "RMSNormalization"
        | "InstanceNormalization"
        | "GroupNormalization"
        | "LpNormalization"
        | "MeanVarianceNormalization" => return Rule::Normalization,
        "ArgMax" | "ArgMin" | "Hardmax" | "TopK" | "CumSum" | "CumProd" | "ReduceProd" | "LRN" => {
            return Rule::Crop(Cut::Row);
        }
        "AveragePool" | "LpPool" | "GlobalLpPool" => return Rule::Crop(Cut::Plane),
        "Shape" | "Size" => return Rule::Types,
        // What moves depends on all of the condition, or of the indices.
        "Compress" | "MaxUnpool" => return Rule::Crop(Cut::Whole),
        _ => {}
    }
    match def.class {
        OpClass::Elementwise(_) => Rule::Crop(Cut::Point),
        OpClass::View | OpClass::Movement => Rule::Move,
        OpClass::Control => Rule::Blocks,
        OpClass::Contraction | OpClass::Reduction | OpClass::General => Rule::Crop(Cut::Whole),
    }
}

/// What is asked of a term.
pub(super) enum Ask<'a> {
    Claims { inputs: &'a mut dyn Inputs },
    Value { claims: &'a [u64], inputs: &'a mut dyn Inputs },
}

pub(super) enum Answer {
    Claims(Vec<Term>),
    Value(u64),
}

pub(super) fn dispatch(subject: &Subject<'_>, term: Term, mut ask: Ask<'_>) -> Result<Answer, Stop> {
    if let Term::Output { output, element } = term
        && element >= subject.output(output)?.len() as u64
    {
        return Err(Stop::NoTerm);
    }
    match rule(subject.def) {
        Rule::Crop(cut) => {
            leaf(term, ask, |output, at, inputs| crop::value(subject, cut, output, at, inputs))
        }
        Rule::Move => leaf(term, ask, |output, at, inputs| movement::value(subject, output, at, inputs)),
        Rule::Types => leaf(term, ask, |_, at, _| movement::from_types(subject, at)),
        Rule::Contraction => {
            let formula = contract::Contraction::new(subject)?;
            match contract::accumulator(subject)? {
                DType::F64 => terms::<f64>(&formula, term, ask),
                DType::I32 => terms::<i32>(&formula, term, ask),
                DType::I64 => terms::<i64>(&formula, term, ask),
                DType::U32 => terms::<u32>(&formula, term, ask),
                DType::U64 => terms::<u64>(&formula, term, ask),
                _ => terms::<f32>(&formula, term, ask),
            }
        }
        Rule::Reduction => {
            let (op, rows) = match &mut ask {
                Ask::Claims { inputs } | Ask::Value { inputs, .. } => reduce::parts(subject, &mut **inputs)?,
            };
            let reduction = reduce::Reduction::new(subject, op, rows)?;
            match subject.input(0)?.dtype {
                DType::F64 => terms::<f64>(&reduction, term, ask),
                dtype if dtype.is_float() => terms::<f32>(&reduction, term, ask),
                // Narrow integers are compared only, which i64 does as well.
                DType::U64 => terms::<u64>(&reduce::Integers(reduction), term, ask),
                DType::U32 => terms::<u32>(&reduce::Integers(reduction), term, ask),
                DType::I32 => terms::<i32>(&reduce::Integers(reduction), term, ask),
                _ => terms::<i64>(&reduce::Integers(reduction), term, ask),
            }
        }
        Rule::Normalization => {
            let formula = normalize::Normalization::new(subject)?;
            match subject.input(0)?.dtype {
                DType::F64 => terms::<f64>(&formula, term, ask),
                _ => terms::<f32>(&formula, term, ask),
            }
        }
        Rule::Blocks => Err(Stop::NoTerm),
    }
}

/// A rule without claims.
fn leaf(
    term: Term,
    ask: Ask<'_>,
    value: impl FnOnce(u32, usize, &mut dyn Inputs) -> Result<u64, Stop>,
) -> Result<Answer, Stop> {
    let Term::Output { output, element } = term else { return Err(Stop::NoTerm) };
    match ask {
        Ask::Claims { .. } => Ok(Answer::Claims(Vec::new())),
        Ask::Value { inputs, .. } => value(output, element as usize, inputs).map(Answer::Value),
    }
}

fn terms<W: Wide>(formula: &dyn Formula<W>, term: Term, ask: Ask<'_>) -> Result<Answer, Stop> {
    match ask {
        Ask::Claims { .. } => series::claims(formula, term).map(Answer::Claims),
        Ask::Value { claims, inputs } => series::value(formula, term, claims, inputs).map(Answer::Value),
    }
}
