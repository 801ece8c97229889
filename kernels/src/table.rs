//! Which operator has which kernels: one row for each operator.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use repops::dtype::DType;
use repops::ops::{self, OpId};

use crate::Kernel;
use crate::cpu::elementwise::operators;
use crate::cpu::movement::{join, strided};
use crate::cpu::rows::{normalize, reduce, softmax};
use crate::cpu::{conv, conv_transpose, gemm, matmul, matmul_integer, pool, resize};

/// Picks the kernel for the types of the inputs.
type Choose = fn(&[Option<DType>]) -> Option<Kernel>;

/// Operator, version, choice.
static ROWS: &[(&str, u16, Choose)] = &[
    ("AveragePool", 1, pool::choose_average),
    ("BatchNormalization", 1, normalize::choose_batch),
    ("Concat", 1, join::choose_concat),
    ("Conv", 1, conv::choose),
    ("ConvTranspose", 1, conv_transpose::choose),
    ("Expand", 1, strided::choose_expand),
    ("Gather", 1, join::choose_gather),
    ("Gemm", 1, gemm::choose),
    ("GlobalAveragePool", 1, reduce::choose_global_average),
    ("GlobalMaxPool", 1, reduce::choose_global_max),
    ("LayerNormalization", 1, normalize::choose_layer),
    ("LogSoftmax", 1, softmax::choose_log),
    ("MatMul", 1, matmul::choose),
    ("MatMulInteger", 1, matmul_integer::choose),
    ("MaxPool", 1, pool::choose_max),
    ("RMSNormalization", 1, normalize::choose_rms),
    ("ReduceL1", 1, reduce::choose_l1),
    ("ReduceL2", 1, reduce::choose_l2),
    ("ReduceMax", 1, reduce::choose_max),
    ("ReduceMean", 1, reduce::choose_mean),
    ("ReduceMin", 1, reduce::choose_min),
    ("ReduceSum", 1, reduce::choose_sum),
    ("ReduceSumSquare", 1, reduce::choose_sum_square),
    ("Resize", 1, resize::choose),
    ("Slice", 1, strided::choose_slice),
    ("Softmax", 1, softmax::choose),
    ("Split", 1, strided::choose_split),
    ("Tile", 1, strided::choose_tile),
    ("Transpose", 1, strided::choose_transpose),
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
