//! A first product through the whole path: a launch, the interpreter, the reference.

use repops::attrs::Attrs;
use repops_ptx::suite::{Case, Draw};

#[test]
fn products_of_odd_sizes() {
    let mut draw = Draw::new(1);
    for (m, k, n) in [(1, 1, 1), (3, 257, 131), (2, 1500, 17), (1, 0, 5)] {
        Case::new("MatMul", Attrs::new(), vec![draw.finite_tensor(&[m, k]), draw.finite_tensor(&[k, n])])
            .check();
        Case::new("MatMul", Attrs::new(), vec![draw.hard_tensor(&[m, k]), draw.hard_tensor(&[k, n])]).check();
    }
}

#[test]
fn functions_of_one_value() {
    let mut draw = Draw::new(2);
    for op in ["Exp", "Sqrt", "Erf"] {
        Case::new(op, Attrs::new(), vec![draw.hard_tensor(&[3, 341])]).check();
    }
}
