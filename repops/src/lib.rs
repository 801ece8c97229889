//! What every operator means: the normative numerics, the operator table, programs and the reference evaluator.
pub mod lane;
pub mod scalar;
