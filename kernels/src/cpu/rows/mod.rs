//! Reductions and normalizations of rows, in the order of `repops::reduce::row_sum`.

pub(crate) mod normalize;
pub(crate) mod reduce;
pub(crate) mod softmax;
pub(crate) mod sums;
