//! Which rule decides a dispute about each operator.

use super::crop::{self, Cut};
use super::series::{self, Formula};
use super::wide::Wide;
use super::{
    Inputs, Stop, Subject, TensorType, Term, WHOLE_BYTES_MAX, attention, contract, deformed, einsum, fourier,
    local, movement, normalize, pick, pool, products, recurrence, reduce, resize, sequence,
};
use crate::dtype::DType;
use crate::ops::infer::normalize_axis;
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
    /// By those of several products, whose elements the region combines.
    Products,
    /// By the trees of the sums and maxima of its row, and sixteen elements.
    Reduction,
    Normalization,
    /// By the place of the largest or smallest element of a row, or of all: sixteen elements.
    Pick,
    /// By the elements in a window.
    Pool,
    Einsum,
    /// By weights, row maximum and row sum, then as a contraction.
    Attention,
    /// By the state after half of the steps, a quarter, and so on; then by the gates of one step.
    Recurrence,
    /// By interpolation along one axis after another.
    Resize,
    /// As a contraction of elements and factors that follow from their places.
    Fourier,
    /// As a contraction of weights and values between elements.
    Deformed,
    /// From a few elements of the inputs.
    Local,
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
            Rule::Contraction | Rule::Products | Rule::Einsum | Rule::Fourier | Rule::Deformed => {
                "16 terms of a chunk"
            }
            Rule::Reduction | Rule::Normalization | Rule::Pick => "16 elements of a row",
            Rule::Pool => "16 elements of a window",
            Rule::Attention => "16 terms of a chunk, by weights",
            Rule::Recurrence => "16 terms of a chunk, by states of at most 8192 values",
            Rule::Resize => "16 terms of a chunk, axis by axis",
            Rule::Local => "one element from a few",
            Rule::Blocks => "the records of its blocks",
        }
    }

    /// Whether elements have finer terms.
    pub fn has_terms(self) -> bool {
        !matches!(self, Rule::Crop(_) | Rule::Move | Rule::Types | Rule::Local | Rule::Blocks)
    }
}

/// Operators that are decided by all of a row, a plane or all inputs, and so only up to a size: a complete list, as a test
/// holds. What exceeds it is found by [`exceeds`] before anybody disputes it.
pub const BOUNDED: &[(&str, Cut)] = &[
    ("AffineGrid", Cut::Whole),
    ("BlackmanWindow", Cut::Whole),
    ("CastFromString", Cut::Whole),
    ("CastToString", Cut::Whole),
    ("Col2Im", Cut::Whole),
    ("Compress", Cut::Whole),
    ("ConcatFromSequence", Cut::Whole),
    ("CumProd", Cut::Row),
    ("CumSum", Cut::Row),
    ("Det", Cut::Whole),
    ("EyeLike", Cut::Whole),
    ("HammingWindow", Cut::Whole),
    ("HannWindow", Cut::Whole),
    ("ImageDecoder", Cut::Whole),
    ("LRN", Cut::Row),
    ("LabelEncoder", Cut::Whole),
    ("LinearAttention", Cut::Whole),
    ("MaxRoiPool", Cut::Whole),
    ("MaxUnpool", Cut::Whole),
    ("MelWeightMatrix", Cut::Whole),
    ("Multinomial", Cut::Whole),
    ("NegativeLogLikelihoodLoss", Cut::Whole),
    ("NonMaxSuppression", Cut::Whole),
    ("NonZero", Cut::Whole),
    ("OneHot", Cut::Whole),
    ("Optional", Cut::Whole),
    ("OptionalGetElement", Cut::Whole),
    ("OptionalHasElement", Cut::Whole),
    ("Range", Cut::Whole),
    ("ReduceProd", Cut::Row),
    ("RegexFullMatch", Cut::Whole),
    ("SequenceAt", Cut::Whole),
    ("SequenceConstruct", Cut::Whole),
    ("SequenceEmpty", Cut::Whole),
    ("SequenceErase", Cut::Whole),
    ("SequenceInsert", Cut::Whole),
    ("SequenceLength", Cut::Whole),
    ("SplitToSequence", Cut::Whole),
    ("StringConcat", Cut::Whole),
    ("StringNormalizer", Cut::Whole),
    ("StringSplit", Cut::Whole),
    ("TfIdfVectorizer", Cut::Whole),
    ("TopK", Cut::Row),
    ("TreeEnsemble", Cut::Whole),
    ("Unique", Cut::Whole),
];

/// Why a dispute about a step of these types would not be decided, as far as types tell: the bytes that its rule would read
/// at once, where they are more than it may.
pub fn exceeds(subject: &Subject<'_>) -> Option<usize> {
    let bytes = |ty: &TensorType| ty.len().saturating_mul(ty.dtype.size());
    let sum = |types: &mut dyn Iterator<Item = &TensorType>| types.map(bytes).fold(0, usize::saturating_add);
    match subject.rule() {
        Rule::Crop(Cut::Whole) => {
            let inputs = sum(&mut subject.inputs.iter().flatten());
            let outputs = sum(&mut subject.outputs.iter());
            let too_much = inputs > WHOLE_BYTES_MAX || outputs > 8 * WHOLE_BYTES_MAX;
            too_much.then_some(inputs.max(outputs))
        }
        // The longest row that there may be: along which axis is not always known.
        Rule::Crop(Cut::Row) => {
            let x = subject.optional(0)?;
            let axis = match subject.def.name {
                "TopK" => normalize_axis(subject.attrs.int("axis"), x.shape.len()).ok(),
                "LRN" => Some(1),
                _ => None,
            };
            let longest = x.shape.iter().copied().max().unwrap_or(1);
            let row = axis.and_then(|axis| x.shape.get(axis).copied()).unwrap_or(longest);
            let row = row.saturating_mul(x.dtype.size());
            (row > WHOLE_BYTES_MAX).then_some(row)
        }
        _ => None,
    }
}

/// The rule of an operator: that of its class, unless its row has one of its own.
pub fn rule(def: &OpDef) -> Rule {
    match def.name {
        "Region" => return Rule::Crop(Cut::Point),
        "ProductRegion" => return Rule::Products,
        "QuantizeLinear" | "DequantizeLinear" => return Rule::Crop(Cut::Quantized),
        "BatchNormalization" => return Rule::Crop(Cut::Channel),
        "MatMul" | "MatMulBlocks" | "Gemm" | "Conv" | "ConvTranspose" | "MatMulInteger" | "ConvInteger"
        | "QLinearMatMul" | "QLinearConv" => {
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
        "ArgMax" | "ArgMin" | "Hardmax" | "DynamicQuantizeLinear" => return Rule::Pick,
        "MaxPool" | "AveragePool" | "LpPool" | "GlobalLpPool" => return Rule::Pool,
        "Einsum" => return Rule::Einsum,
        "Attention" | "SequenceAttention" => return Rule::Attention,
        "RNN" | "GRU" | "LSTM" => return Rule::Recurrence,
        "Resize" => return Rule::Resize,
        "CastLike" | "RotaryEmbedding" | "SequenceRotary" | "ScatterElements" | "ScatterND" | "Embedding"
        | "RandomUniform" | "RandomUniformLike" | "RandomNormal" | "RandomNormalLike" | "Bernoulli"
        | "GridSample" | "RoiAlign" => return Rule::Local,
        "DFT" | "STFT" => return Rule::Fourier,
        "DeformConv" => return Rule::Deformed,
        "TopK" | "CumSum" | "CumProd" | "ReduceProd" | "LRN" => {
            return Rule::Crop(Cut::Row);
        }
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

impl Subject<'_> {
    /// The rule of the step: packed values are decided as a whole.
    fn rule(&self) -> Rule {
        let types = self.inputs.iter().flatten().chain(self.outputs);
        let mut dtypes = types.map(|ty| ty.dtype);
        match rule(self.def) {
            Rule::Blocks => Rule::Blocks,
            _ if dtypes.any(|dtype| dtype == DType::Packed) => Rule::Crop(Cut::Whole),
            rule => rule,
        }
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

/// A formula in the type in which the operator computes on the floats of its first input.
macro_rules! floats {
    ($subject:expr, $formula:expr, $term:expr, $ask:expr) => {{
        let formula = $formula;
        match $subject.input(0)?.dtype {
            DType::F64 => terms::<f64>(&formula, $term, $ask),
            _ => terms::<f32>(&formula, $term, $ask),
        }
    }};
}
/// The same on floats and integers.
macro_rules! numbers {
    ($subject:expr, $formula:expr, $term:expr, $ask:expr) => {{
        let formula = $formula;
        match contract::accumulator($subject)? {
            DType::F64 => terms::<f64>(&formula, $term, $ask),
            DType::I32 => terms::<i32>(&formula, $term, $ask),
            DType::I64 => terms::<i64>(&formula, $term, $ask),
            DType::U32 => terms::<u32>(&formula, $term, $ask),
            DType::U64 => terms::<u64>(&formula, $term, $ask),
            _ => terms::<f32>(&formula, $term, $ask),
        }
    }};
}

pub(super) fn dispatch(subject: &Subject<'_>, term: Term, mut ask: Ask<'_>) -> Result<Answer, Stop> {
    if let Term::Output { output, element } = term
        && element >= subject.output(output)?.len() as u64
    {
        return Err(Stop::NoTerm);
    }
    match subject.rule() {
        Rule::Crop(cut) => {
            leaf(term, ask, |output, at, inputs| crop::value(subject, cut, output, at, inputs))
        }
        Rule::Move => leaf(term, ask, |output, at, inputs| movement::value(subject, output, at, inputs)),
        Rule::Types => leaf(term, ask, |_, at, _| movement::from_types(subject, at)),
        Rule::Contraction => numbers!(subject, contract::Contraction::new(subject)?, term, ask),
        Rule::Products => {
            let parts = products::Parts::new(subject)?;
            let of_products = parts.subjects(subject);
            terms::<f32>(&products::Products::new(subject, &parts, &of_products)?, term, ask)
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
        Rule::Normalization => floats!(subject, normalize::Normalization::new(subject)?, term, ask),
        Rule::Pick => match pick::Pick::new(subject)? {
            pick::Pick::Place(place) => terms::<u64>(&place, term, ask),
            pick::Pick::Range(range) => terms::<f32>(&range, term, ask),
            // Keys of 64 bits have no room for a place.
            pick::Pick::Row => {
                leaf(term, ask, |output, at, inputs| crop::value(subject, Cut::Row, output, at, inputs))
            }
        },
        Rule::Pool => pooled(subject, term, ask),
        Rule::Einsum => numbers!(subject, einsum::Einsum::new(subject)?, term, ask),
        Rule::Attention if subject.def.name == "SequenceAttention" => {
            terms::<f32>(&sequence::SequenceAttention::new(subject)?, term, ask)
        }
        Rule::Attention => floats!(subject, attention::Attention::new(subject)?, term, ask),
        Rule::Recurrence => {
            let (Ask::Claims { inputs } | Ask::Value { inputs, .. }) = &mut ask;
            let recurrence = recurrence::Recurrence::new(subject, &mut **inputs)?;
            floats!(subject, recurrence, term, ask)
        }
        Rule::Resize => {
            let (Ask::Claims { inputs } | Ask::Value { inputs, .. }) = &mut ask;
            let resized = resize::Resized::new(subject, &mut **inputs)?;
            if resized.is_nearest() {
                return leaf(term, ask, |_, at, inputs| resized.nearest(at, inputs));
            }
            floats!(subject, resized, term, ask)
        }
        Rule::Fourier => {
            let (Ask::Claims { inputs } | Ask::Value { inputs, .. }) = &mut ask;
            let transform = fourier::Transform::new(subject, &mut **inputs)?;
            floats!(subject, transform, term, ask)
        }
        Rule::Deformed => floats!(subject, deformed::Deformed::new(subject)?, term, ask),
        Rule::Local => leaf(term, ask, |_, at, inputs| local::value(subject, at, inputs)),
        Rule::Blocks => Err(Stop::NoTerm),
    }
}

fn pooled(subject: &Subject<'_>, term: Term, ask: Ask<'_>) -> Result<Answer, Stop> {
    let is_place = match term {
        Term::Output { output, .. } => output > 0,
        Term::Part { series, .. } | Term::Lane { series, .. } => series == pick::BEST,
    };
    if is_place {
        return match pick::Pick::new(subject)? {
            pick::Pick::Place(place) => terms::<u64>(&place, term, ask),
            _ => leaf(term, ask, |output, at, inputs| {
                let within = crop::value(subject, Cut::Plane, output, at, inputs)? as i64;
                let first = pool::Windows::of(subject)?.plane(at) as i64;
                Ok(if within < 0 { within } else { within + first } as u64)
            }),
        };
    }
    let pool = pool::Pool::new(subject)?;
    match subject.input(0)?.dtype {
        dtype if dtype.is_float() => floats!(subject, pool, term, ask),
        _ => terms::<i64>(&pool::Integers(pool), term, ask),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_listed() {
        let bounded = |rule: Rule| match rule {
            Rule::Crop(cut @ (Cut::Whole | Cut::Row | Cut::Plane)) => Some(cut),
            _ => None,
        };
        let mut found: Vec<(&str, Cut)> =
            crate::ops::all().iter().filter_map(|def| Some((def.name, bounded(rule(def))?))).collect();
        found.sort_by_key(|(name, _)| *name);
        found.dedup();
        assert_eq!(found, BOUNDED);
    }

    #[test]
    fn what_exceeds_a_bound_is_told() {
        let def = crate::ops::by_name("NonZero").expect("a row");
        let attrs = crate::attrs::Attrs::new();
        let of = |count: usize| {
            let (inputs, outputs) =
                ([Some(TensorType::new(DType::F32, &[count]))], [TensorType::new(DType::I64, &[1, 1])]);
            exceeds(&Subject { def, attrs: &attrs, region: None, inputs: &inputs, outputs: &outputs })
        };
        assert_eq!((of(32_768), of(32_769)), (None, Some(131_076)));
    }
}
