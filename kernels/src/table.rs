//! Which operator has which kernels: one row for each operator.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use repops::dtype::DType;
use repops::ops::{self, OpId};

use crate::Kernel;
use crate::cpu::elementwise::operators;
use crate::cpu::movement::{blocks, join, named, pad, scatter, strided, trilu};
use crate::cpu::rows::{normalize, reduce, softmax};
use crate::cpu::weights::{embedding, matmul_blocks};
use crate::cpu::{
    arg, conv, conv_transpose, cum_sum, gemm, instance, integer, lrn, matmul, pool, quantize, resize,
    sequence, top_k,
};

/// Picks the kernel for the types of the inputs.
type Choose = fn(&[Option<DType>]) -> Option<Kernel>;

/// Operator, version, choice.
static ROWS: &[(&str, u16, Choose)] = &[
    ("ArgMax", 1, arg::choose_max),
    ("ArgMin", 1, arg::choose_min),
    ("Attention", 2, sequence::choose_attention),
    ("AveragePool", 1, pool::choose_average),
    ("BatchNormalization", 1, normalize::choose_batch),
    ("Concat", 1, join::choose_concat),
    ("Conv", 1, conv::choose),
    ("ConvInteger", 1, integer::conv::choose),
    ("ConvTranspose", 1, conv_transpose::choose),
    ("CumSum", 1, cum_sum::choose),
    ("DepthToSpace", 1, blocks::choose_depth_to_space),
    ("DequantizeLinear", 1, quantize::choose_dequantize),
    ("DynamicQuantizeLinear", 1, integer::dynamic_quantize::choose),
    ("Embedding", 1, embedding::choose),
    ("Expand", 1, strided::choose_expand),
    ("Gather", 1, join::choose_gather),
    ("GatherElements", 1, named::choose_gather_elements),
    ("GatherND", 1, named::choose_gather_nd),
    ("Gemm", 1, gemm::choose),
    ("GlobalAveragePool", 1, reduce::choose_global_average),
    ("GlobalMaxPool", 1, reduce::choose_global_max),
    ("GroupNormalization", 1, instance::choose_group),
    ("InstanceNormalization", 1, instance::choose_instance),
    ("LRN", 1, lrn::choose),
    ("LayerNormalization", 1, normalize::choose_layer),
    ("LogSoftmax", 2, softmax::choose_log),
    ("MatMul", 1, matmul::choose),
    ("MatMulBlocks", 1, matmul_blocks::choose),
    ("MatMulInteger", 1, integer::matmul::choose),
    ("MaxPool", 1, pool::choose_max),
    ("Pad", 1, pad::choose),
    ("QLinearConv", 1, integer::conv::choose_qlinear),
    ("QLinearMatMul", 1, integer::matmul::choose_qlinear),
    ("QuantizeLinear", 1, quantize::choose_quantize),
    ("RMSNormalization", 1, normalize::choose_rms),
    ("ReduceL1", 1, reduce::choose_l1),
    ("ReduceL2", 1, reduce::choose_l2),
    ("ReduceMax", 1, reduce::choose_max),
    ("ReduceMean", 1, reduce::choose_mean),
    ("ReduceMin", 1, reduce::choose_min),
    ("ReduceSum", 1, reduce::choose_sum),
    ("ReduceSumSquare", 1, reduce::choose_sum_square),
    ("Resize", 1, resize::choose),
    ("ScatterElements", 1, scatter::choose_elements),
    ("ScatterND", 1, scatter::choose_nd),
    ("SequenceAttention", 2, sequence::choose_sequence_attention),
    ("SequenceRotary", 1, sequence::choose_rotary),
    ("Slice", 1, strided::choose_slice),
    ("Softmax", 2, softmax::choose),
    ("SpaceToDepth", 1, blocks::choose_space_to_depth),
    ("Split", 1, strided::choose_split),
    ("Tile", 1, strided::choose_tile),
    ("TopK", 1, top_k::choose),
    ("Transpose", 1, strided::choose_transpose),
    ("Trilu", 1, trilu::choose),
];

pub(crate) fn lookup(op: OpId, version: u16, dtypes: &[Option<DType>]) -> Option<Kernel> {
    static INDEX: LazyLock<BTreeMap<(OpId, u16), Choose>> = LazyLock::new(|| {
        let mut index = BTreeMap::new();
        for def in ops::all() {
            if let Some(row) = ROWS.iter().find(|row| row.0 == def.name && row.1 == def.version) {
                index.insert((def.id, def.version), row.2);
            }
        }
        index
    });
    match INDEX.get(&(op, version)) {
        Some(choose) => choose(dtypes),
        None => ops::by_id(op, version).and_then(|def| operators::choose(def, dtypes)),
    }
}
