//! The import table: for each ONNX operator, the versions that are understood and what makes each of
//! them operators of `repops`.
//!
//! Invariant: a node is converted only if the version of its operator that is in force under the model's
//! opset stands in its row. A version that nobody has looked at is an error, not an accident.

use super::call::{Call, Outputs};
use super::convert::{
    self, constants, control, fusions, legacy, microsoft, ml, norms, quantize, reduce, resize, same,
    sequences, shapes, softmax,
};

/// Converts a node.
pub type Convert = fn(&mut Call<'_, '_>) -> Outputs;

/// An operator of a domain.
pub struct Row {
    /// Empty for ai.onnx.
    pub domain: &'static str,
    pub op_type: &'static str,
    /// In ascending order of versions.
    pub forms: &'static [Form],
}

/// Versions (ONNX's "since version") that one conversion takes.
pub struct Form {
    pub since: &'static [i64],
    pub convert: Convert,
}

const fn row(op_type: &'static str, forms: &'static [Form]) -> Row {
    Row { domain: "", op_type, forms }
}

macro_rules! rows {
    ($($op:literal: $([$($since:literal)+] $convert:path),+;)*) => {
        &[$(row($op, &[$(Form { since: &[$($since),+], convert: $convert }),+])),*]
    };
}

macro_rules! microsoft_rows {
    ($($op:literal => $convert:path;)*) => {
        &[$(Row { domain: "com.microsoft", op_type: $op, forms: &[Form { since: &[1], convert: $convert }] }),*]
    };
}

/// Operators of com.microsoft, which has one version.
#[rustfmt::skip]
static MICROSOFT_ROWS: &[Row] = microsoft_rows! {
    "Attention" => microsoft::attention::attention;
    "BiasGelu" => microsoft::gelu;
    "DequantizeLinear" => quantize::quantize;
    "DynamicQuantizeLSTM" => microsoft::lstm::dynamic_quantize_lstm;
    "DynamicQuantizeMatMul" => microsoft::quantized::dynamic_quantize_matmul;
    "EmbedLayerNormalization" => microsoft::embed_layer_normalization;
    "FastGelu" => microsoft::gelu;
    "FusedConv" => microsoft::fused;
    "FusedGemm" => microsoft::fused;
    "FusedMatMul" => microsoft::fused_matmul;
    "Gelu" => microsoft::gelu;
    "GroupQueryAttention" => microsoft::attention::group_query_attention;
    "LayerNormalization" => convert::same;
    "MatMulIntegerToFloat" => microsoft::quantized::matmul_integer_to_float;
    "MatMulNBits" => microsoft::quantized::matmul_n_bits;
    "MultiHeadAttention" => microsoft::attention::multi_head_attention;
    "QAttention" => microsoft::attention::qattention;
    "QLinearAdd" => microsoft::quantized::binary;
    "QLinearAveragePool" => microsoft::quantized::unary;
    "QLinearConcat" => microsoft::quantized::concat;
    "QLinearGlobalAveragePool" => microsoft::quantized::unary;
    "QLinearLeakyRelu" => microsoft::quantized::unary;
    "QLinearMul" => microsoft::quantized::binary;
    "QLinearSigmoid" => microsoft::quantized::unary;
    "QuantizeLinear" => quantize::quantize;
    "QuickGelu" => microsoft::quick_gelu;
    "RotaryEmbedding" => microsoft::attention::rotary_embedding;
    "SimplifiedLayerNormalization" => microsoft::simplified_layer_normalization;
    "SkipLayerNormalization" => microsoft::skip_layer_normalization;
    "SkipSimplifiedLayerNormalization" => microsoft::skip_layer_normalization;
    "TransposeMatMul" => microsoft::fused_matmul;
};

macro_rules! ml_rows {
    ($($op:literal: $([$($since:literal)+] $convert:path),+;)*) => {
        &[$(Row { domain: "ai.onnx.ml", op_type: $op, forms: &[$(Form { since: &[$($since),+], convert: $convert }),+] }),*]
    };
}

/// Operators of ai.onnx.ml.
#[rustfmt::skip]
static ML_ROWS: &[Row] = ml_rows! {
    "ArrayFeatureExtractor": [1] ml::array_feature_extractor;
    "Binarizer": [1] ml::binarizer;
    "CategoryMapper": [1] ml::category_mapper;
    "FeatureVectorizer": [1] ml::feature_vectorizer;
    "Imputer": [1] ml::imputer;
    "LabelEncoder": [1] ml::label_encoder_1, [2 4] sequences::label_encoder;
    "LinearClassifier": [1] ml::linear_classifier;
    "LinearRegressor": [1] ml::linear_regressor;
    "Normalizer": [1] ml::normalizer;
    "OneHotEncoder": [1] ml::one_hot_encoder;
    "SVMRegressor": [1] ml::svm_regressor;
    "Scaler": [1] ml::scaler;
    "TreeEnsemble": [5] ml::tree_ensemble;
    // Version 5 only says that TreeEnsemble is newer.
    "TreeEnsembleClassifier": [1 3 5] ml::tree_ensemble_classifier;
    "TreeEnsembleRegressor": [1 3 5] ml::tree_ensemble_regressor;
};

/// Operators of other domains.
static OTHER_ROWS: &[Row] = &[
    // Where ONNX Runtime's optimizer puts it, though ONNX has no such operator.
    Row {
        domain: "",
        op_type: "SimplifiedLayerNormalization",
        forms: &[Form { since: &[1], convert: microsoft::simplified_layer_normalization }],
    },
    Row {
        domain: "ai.onnx.preview",
        op_type: "FlexAttention",
        forms: &[Form { since: &[1], convert: fusions::flex_attention }],
    },
];

/// The operators of ai.onnx, in the order of their names. What a version changed is said at the
/// conversion; `same` stands where only types were added or the text was changed.
#[rustfmt::skip]
pub static ROWS: &[Row] = rows! {
    "Abs": [6 13] same;
    "Acos": [7 22] same;
    "Acosh": [9 22] same;
    "Add": [1 6] legacy::broadcast, [7 13 14] same;
    "AffineGrid": [20] same;
    "And": [1] legacy::broadcast, [7] same;
    "ArgMax": [1 11 12 13] same;
    "ArgMin": [1 11 12 13] same;
    "Asin": [7 22] same;
    "Asinh": [9 22] same;
    "Atan": [7 22] same;
    "Atanh": [9 22] same;
    "Attention": [23 24 25] convert::attention;
    "AveragePool": [1 7 10 11 19 22] same;
    "BatchNormalization": [1 6] legacy::batch_normalization, [7 9] norms::batch_normalization_7, [14 15] norms::batch_normalization_14;
    "Bernoulli": [15 22] same;
    "BitCast": [26] same;
    "BitShift": [11 28] same;
    "BitwiseAnd": [18] same;
    "BitwiseNot": [18] same;
    "BitwiseOr": [18] same;
    "BitwiseXor": [18] same;
    "BlackmanWindow": [17] same;
    "Cast": [6 9 13 19 21 23 24 25 28] quantize::cast;
    "CastLike": [15 19 21 23 24 25] quantize::cast_like;
    "CausalConvWithState": [27] fusions::causal_conv_with_state;
    "Ceil": [6 13] same;
    "Celu": [12 28] same;
    "CenterCropPad": [18] same;
    "Clip": [6] convert::clip_6, [11 12 13] same;
    "Col2Im": [18] quantize::short_integers;
    "Compress": [9 11 28] same;
    "Concat": [4 11 13] shapes::concat;
    "ConcatFromSequence": [11] same;
    "Constant": [1 9 11 12 13 19 21 23 24 25] constants::constant;
    "ConstantOfShape": [9 20 21 23 24 25] constants::constant_of_shape;
    "Conv": [1 11 22] same;
    "ConvInteger": [10] same;
    "ConvTranspose": [1 11 22] same;
    "Cos": [7 22] same;
    "Cosh": [9 22] same;
    "CumProd": [26] same;
    "CumSum": [11 14] same;
    "DFT": [17] convert::dft_17, [20] same;
    "DeformConv": [19 22] same;
    "DepthToSpace": [1 11 13 28] same;
    "DequantizeLinear": [10 13 19 21 23 24 25 28] quantize::quantize;
    "Det": [11 22] same;
    "Div": [1 6] legacy::broadcast, [7 13 14] same;
    "Dropout": [7 10] norms::dropout_7, [12 13 22] norms::dropout_12;
    "DynamicQuantizeLinear": [11] same;
    "Einsum": [12 28] quantize::short_integers;
    "Elu": [6 22] same;
    "Equal": [1] legacy::broadcast, [7 11 13 19] same;
    "Erf": [9 13] same;
    "Exp": [6 13] same;
    "Expand": [8 13] same;
    "EyeLike": [9 22] same;
    "Flatten": [1 9 11 13 21 23 24 25] same;
    "Floor": [6 13] same;
    "GRU": [7 14 22] same;
    "Gather": [1 11 13] same;
    "GatherElements": [11 13] same;
    "GatherND": [11 12 13] same;
    "Gelu": [20] same;
    "Gemm": [1 6] legacy::gemm, [7 9 11 13] same;
    "GlobalAveragePool": [1 22] same;
    "GlobalLpPool": [2 22] same;
    "GlobalMaxPool": [1 22] same;
    "Greater": [1] legacy::broadcast, [7 9 13] same;
    "GreaterOrEqual": [12 16] same;
    "GridSample": [16] convert::grid_sample_16, [20 22] convert::grid_sample_20;
    "GroupNormalization": [18] norms::group_normalization_18, [21] same;
    "HammingWindow": [17] same;
    "HannWindow": [17] same;
    "HardSigmoid": [6 22] same;
    "HardSwish": [14 22] same;
    "Hardmax": [1 11] softmax::flattened, [13] same;
    "Identity": [1 13 14 16 19 21 23 24 25] same;
    "If": [1 11 13 16 19 21 23 24 25] control::if_;
    "ImageDecoder": [20] same;
    "InstanceNormalization": [6 22] same;
    "IsInf": [10 20] quantize::predicate;
    "IsNaN": [9 13 20] quantize::predicate;
    "LRN": [1 13] same;
    "LSTM": [7 14 22] same;
    "LayerNormalization": [17] same;
    "LeakyRelu": [6 16] same;
    "Less": [1] legacy::broadcast, [7 9 13] same;
    "LessOrEqual": [12 16] same;
    "LinearAttention": [27] same;
    "Log": [6 13] same;
    "LogSoftmax": [1 11] softmax::flattened, [13] same;
    "Loop": [1 11 13 16 19 21 23 24 25] control::loop_;
    "LpNormalization": [1 22] same;
    "LpPool": [2 11 18 22] same;
    "MatMul": [1 9 13] same;
    "MatMulInteger": [10] same;
    "Max": [6 8 12 13] same;
    "MaxPool": [1 8 10 11 12 22] same;
    "MaxRoiPool": [1 22] same;
    "MaxUnpool": [9 11 22] same;
    "Mean": [6 8 13] same;
    "MeanVarianceNormalization": [9 13] same;
    "MelWeightMatrix": [17] same;
    "Min": [6 8 12 13] same;
    "Mish": [18 22] same;
    "Mod": [10 13 28] same;
    "Mul": [1 6] legacy::broadcast, [7 13 14] same;
    "Multinomial": [7 22] same;
    "Neg": [6 13] same;
    "NegativeLogLikelihoodLoss": [12 13 22] same;
    "NonMaxSuppression": [10 11] same;
    "NonZero": [9 13] same;
    "Not": [1] same;
    "OneHot": [9 11 28] same;
    "Optional": [15 28] sequences::optional;
    "OptionalGetElement": [15 18 28] same;
    "OptionalHasElement": [15 18 28] same;
    "Or": [1] legacy::broadcast, [7] same;
    "PRelu": [1 6] legacy::prelu, [7 9 16] same;
    "Pad": [2] shapes::pad_2, [11 13 18 19 21 23 24 25] same;
    "Pow": [1] legacy::broadcast, [7 12 13 15] same;
    "QLinearConv": [10] same;
    "QLinearMatMul": [10 21] quantize::qlinear_matmul;
    "QuantizeLinear": [10 13 19 21 23 24 25 28] quantize::quantize;
    "RMSNormalization": [23] same;
    "RNN": [7 14 22] same;
    "RandomNormal": [1 22] same;
    "RandomNormalLike": [1 22] same;
    "RandomUniform": [1 22] same;
    "RandomUniformLike": [1 22] same;
    "Range": [11 27] same;
    "Reciprocal": [6 13] same;
    "ReduceL1": [1 11 13] reduce::reduce_axes, [18] same;
    "ReduceL2": [1 11 13] reduce::reduce_axes, [18] quantize::integers_as_floats;
    "ReduceLogSum": [1 11 13] reduce::reduce_axes, [18 28] quantize::integers_as_floats;
    "ReduceLogSumExp": [1 11 13] reduce::reduce_axes, [18 28] quantize::integers_as_floats;
    "ReduceMax": [1 11 12 13] reduce::reduce_axes, [18 20] same;
    "ReduceMean": [1 11 13] reduce::reduce_axes, [18] same;
    "ReduceMin": [1 11 12 13] reduce::reduce_axes, [18 20] same;
    "ReduceProd": [1 11 13] reduce::reduce_axes, [18] same;
    "ReduceSum": [1 11] reduce::reduce_axes, [13] same;
    "ReduceSumSquare": [1 11 13] reduce::reduce_axes, [18] same;
    "RegexFullMatch": [20] same;
    "Relu": [6 13 14] same;
    "Reshape": [5 13 14 19 21 23 24 25] same;
    "Resize": [10] resize::resize_10, [11 13 18 19] resize::resize_11;
    "ReverseSequence": [10 28] same;
    "RoiAlign": [10] convert::roi_align_10, [16 22] same;
    "RotaryEmbedding": [23] same;
    "Round": [11 22] same;
    "STFT": [17] same;
    "Scan": [8] control::scan_8, [9 11 16 19 21 23 24 25] control::scan_9;
    "Scatter": [9] convert::scatter_9;
    "ScatterElements": [11 13 16 18] same;
    "ScatterND": [11 13 16 18] same;
    "Selu": [6 22] same;
    "SequenceAt": [11] same;
    "SequenceConstruct": [11] same;
    "SequenceEmpty": [11] same;
    "SequenceErase": [11] same;
    "SequenceInsert": [11] same;
    "SequenceLength": [11] same;
    "SequenceMap": [17] sequences::sequence_map;
    "Shape": [1 13 15 19 21 23 24 25] same;
    "Shrink": [9] quantize::integers_as_floats;
    "Sigmoid": [6 13] same;
    "Sign": [9 13] same;
    "Sin": [7 22] same;
    "Sinh": [9 22] same;
    "Size": [1 13 19 21 23 24 25] same;
    "Slice": [1] shapes::slice_1, [10 11 13] same;
    "Softmax": [1 11] softmax::flattened, [13] same;
    "SoftmaxCrossEntropyLoss": [12 13] fusions::softmax_cross_entropy_loss;
    "Softplus": [1 22] same;
    "Softsign": [1 22] same;
    "SpaceToDepth": [1 13 28] same;
    "Split": [2 11] shapes::split_2, [13] shapes::split_13, [18] shapes::split_18;
    "SplitToSequence": [11 24] same;
    "Sqrt": [6 13] same;
    "Squeeze": [1 11] shapes::axes_attribute, [13 21 23 24 25] same;
    "StringConcat": [20] same;
    "StringNormalizer": [10] same;
    "StringSplit": [20] same;
    "Sub": [1 6] legacy::broadcast, [7 13 14] same;
    "Sum": [6 8 13] same;
    "SwiGLU": [28] fusions::swiglu;
    "Swish": [24] same;
    "Tan": [7 22] same;
    "Tanh": [6 13] same;
    "TensorScatter": [24] same;
    "TfIdfVectorizer": [9] sequences::tf_idf_vectorizer;
    "ThresholdedRelu": [10 22] same;
    "Tile": [6 13] same;
    "TopK": [1] convert::top_k_1, [10 11 24] same;
    "Transpose": [1 13 21 23 24 25] same;
    "Trilu": [14] same;
    "Unique": [11 28] same;
    "Unsqueeze": [1 11] shapes::axes_attribute, [13 21 23 24 25] same;
    "Upsample": [7 9] resize::upsample;
    "Where": [9 16] same;
    "Xor": [1] legacy::broadcast, [7] same;
};

/// The rows of all domains.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(OTHER_ROWS).chain(MICROSOFT_ROWS).chain(ML_ROWS)
}

/// The conversion for an operator under version `opset` of its domain, and the operator's own version.
/// An error is what is supported instead.
pub fn find(domain: &str, op_type: &str, opset: Option<i64>) -> Result<(i64, Convert), String> {
    let Some(row) = rows().find(|row| row.domain == domain && row.op_type == op_type) else {
        let known = rows().any(|row| row.domain == domain);
        let what = if known { "no operator of this name is" } else { "no operator of this domain is" };
        return Err(format!("{what} supported"));
    };
    let Some(opset) = opset else { return Err("the model does not import this domain".to_string()) };
    let forms = || row.forms.iter().flat_map(|form| form.since.iter().map(move |&s| (s, form.convert)));
    let listed = || forms().map(|(since, _)| since.to_string()).collect::<Vec<_>>().join(", ");
    let removed = removed_in(op_type).is_some_and(|version| opset >= version);
    let found = forms().rfind(|(since, _)| *since <= opset).filter(|_| !removed);
    found.ok_or_else(|| format!("its versions {} are supported", listed()))
}

/// The version in which ONNX took an operator away.
fn removed_in(op_type: &str) -> Option<i64> {
    match op_type {
        "Upsample" => Some(10),
        "Scatter" => Some(11),
        _ => None,
    }
}
