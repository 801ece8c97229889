//! Which operator has which kernels: one row for each operator.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use repops::dtype::DType;
use repops::ops::{self, OpId};

use crate::Kernel;
use crate::cpu::elementwise::operators;
use crate::cpu::{conv, gemm, matmul};

/// Picks the kernel for the types of the inputs.
type Choose = fn(&[Option<DType>]) -> Option<Kernel>;

/// Operator, version, choice.
static ROWS: &[(&str, u16, Choose)] =
    &[("Conv", 1, conv::choose), ("Gemm", 1, gemm::choose), ("MatMul", 1, matmul::choose)];

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
