//! The rows. Append-only: see the module above.
//!
//! Ids 1-99 structure and control, 100-199 element-wise, 200-299 movement and shapes, 300-349
//! contractions, 350-399 reductions and norms, 400-499 everything else.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{OpDef, OpId};

/// Every row, in ascending order of id and version.
#[rustfmt::skip] // One row a line.
static TABLE: &[&OpDef] = &[
    &super::region::DEF,
    &super::control::IF_DEF,
    &super::control::LOOP_DEF,
    &super::control::SCAN_DEF,
    &super::region::PRODUCT_DEF,
    &super::abs::DEF,
    &super::acos::DEF,
    &super::inverse_hyperbolic::ACOSH,
    &super::add::DEF,
    &super::and::DEF,
    &super::asin::DEF,
    &super::inverse_hyperbolic::ASINH,
    &super::atan::DEF,
    &super::inverse_hyperbolic::ATANH,
    &super::bit_shift::DEF,
    &super::bitwise_and::DEF,
    &super::bitwise_not::DEF,
    &super::bitwise_or::DEF,
    &super::bitwise_xor::DEF,
    &super::cast::DEF,
    &super::ceil::DEF,
    &super::celu::DEF,
    &super::clip::DEF,
    &super::cos::DEF,
    &super::cosh::DEF,
    &super::div::DEF,
    &super::elu::DEF,
    &super::equal::DEF,
    &super::erf::DEF,
    &super::exp::DEF,
    &super::floor::DEF,
    &super::gelu::DEF,
    &super::greater::DEF,
    &super::greater_or_equal::DEF,
    &super::hard_sigmoid::DEF,
    &super::hard_swish::DEF,
    &super::is_inf::DEF,
    &super::is_nan::DEF,
    &super::leaky_relu::DEF,
    &super::less::DEF,
    &super::less_or_equal::DEF,
    &super::log::DEF,
    &super::max::DEF,
    &super::mean::DEF,
    &super::min::DEF,
    &super::mish::DEF,
    &super::modulo::DEF,
    &super::mul::DEF,
    &super::neg::DEF,
    &super::not::DEF,
    &super::or::DEF,
    &super::prelu::DEF,
    &super::pow::DEF,
    &super::reciprocal::DEF,
    &super::relu::DEF,
    &super::round::DEF,
    &super::selu::DEF,
    &super::shrink::DEF,
    &super::sigmoid::DEF,
    &super::sign::DEF,
    &super::sin::DEF,
    &super::sinh::DEF,
    &super::softplus::DEF,
    &super::softsign::DEF,
    &super::sqrt::DEF,
    &super::sub::DEF,
    &super::sum::DEF,
    &super::swish::DEF,
    &super::tan::DEF,
    &super::tanh::DEF,
    &super::thresholded_relu::DEF,
    &super::where_::DEF,
    &super::xor::DEF,
    &super::quantize_linear::DEF,
    &super::dequantize_linear::DEF,
    &super::cast_like::DEF,
    &super::bit_cast::DEF,
    &super::identity::DEF,
    &super::reshape::DEF,
    &super::concat::DEF,
    &super::constant_of_shape::DEF,
    &super::depth_to_space::DEF,
    &super::expand::DEF,
    &super::eye_like::DEF,
    &super::flatten::DEF,
    &super::gather::DEF,
    &super::gather_elements::DEF,
    &super::gather_nd::DEF,
    &super::pad::DEF,
    &super::range::DEF,
    &super::reverse_sequence::DEF,
    &super::scatter_elements::DEF,
    &super::scatter_nd::DEF,
    &super::shape::DEF,
    &super::size::DEF,
    &super::slice::DEF,
    &super::space_to_depth::DEF,
    &super::split::DEF,
    &super::squeeze::DEF,
    &super::tile::DEF,
    &super::transpose::DEF,
    &super::trilu::DEF,
    &super::unsqueeze::DEF,
    &super::one_hot::DEF,
    &super::compress::DEF,
    &super::non_zero::DEF,
    &super::unique::DEF,
    &super::center_crop_pad::DEF,
    &super::tensor_scatter::DEF,
    &super::max_unpool::DEF,
    &super::matmul::DEF,
    &super::gemm::DEF,
    &super::conv::DEF,
    &super::conv_transpose::DEF,
    &super::matmul_integer::INTEGER,
    &super::conv_integer::INTEGER,
    &super::matmul_integer::QLINEAR,
    &super::conv_integer::QLINEAR,
    &super::einsum::DEF,
    &super::attention::DEF,
    &super::deform_conv::DEF,
    &super::linear_attention::DEF,
    &super::reduce_sum::SUM,
    &super::reduce_sum::MEAN,
    &super::reduce_max::MAX,
    &super::reduce_max::MIN,
    &super::reduce_sum::PROD,
    &super::reduce_sum::L1,
    &super::reduce_sum::L2,
    &super::reduce_sum::LOG_SUM,
    &super::reduce_sum::LOG_SUM_EXP,
    &super::reduce_sum::SUM_SQUARE,
    &super::arg_max::MAX,
    &super::arg_max::MIN,
    &super::arg_max::HARDMAX,
    &super::cum_sum::SUM,
    &super::cum_sum::PROD,
    &super::softmax::DEF,
    &super::softmax::LOG_DEF,
    &super::layer_normalization::LAYER,
    &super::layer_normalization::RMS,
    &super::batch_normalization::DEF,
    &super::instance_normalization::INSTANCE,
    &super::instance_normalization::GROUP,
    &super::lp_normalization::LP,
    &super::lp_normalization::MEAN_VARIANCE,
    &super::lrn::DEF,
    &super::negative_log_likelihood_loss::DEF,
    &super::pool::MAX,
    &super::pool::AVERAGE,
    &super::global_pool::AVERAGE,
    &super::global_pool::MAX,
    &super::global_pool::LP,
    &super::resize::DEF,
    &super::top_k::DEF,
    &super::pool::LP,
    &super::grid_sample::DEF,
    &super::dynamic_quantize_linear::DEF,
    &super::random::UNIFORM,
    &super::random::UNIFORM_LIKE,
    &super::random::NORMAL,
    &super::random::NORMAL_LIKE,
    &super::random::BERNOULLI,
    &super::random::MULTINOMIAL,
    &super::non_max_suppression::DEF,
    &super::rotary_embedding::DEF,
    &super::recurrent::RNN,
    &super::recurrent::GRU,
    &super::recurrent::LSTM,
    &super::col2im::DEF,
    &super::affine_grid::DEF,
    &super::fourier::DFT,
    &super::fourier::STFT,
    &super::signal_window::HANN,
    &super::signal_window::HAMMING,
    &super::signal_window::BLACKMAN,
    &super::signal_window::MEL,
    &super::roi::ALIGN,
    &super::roi::MAX_POOL,
    &super::det::DEF,
    &super::tf_idf_vectorizer::DEF,
    &super::sequence::ATTENTION,
    &super::sequence::ROTARY,
    &super::matmul_blocks::DEF,
    &super::matmul_blocks::EMBEDDING,
    &super::sequences::CONSTRUCT,
    &super::sequences::EMPTY,
    &super::sequences::INSERT,
    &super::sequences::ERASE,
    &super::sequences::AT,
    &super::sequences::LENGTH,
    &super::sequences::SPLIT,
    &super::sequences::CONCAT,
    &super::optional::OPTIONAL,
    &super::optional::HAS_ELEMENT,
    &super::optional::GET_ELEMENT,
    &super::string_concat::DEF,
    &super::string_split::DEF,
    &super::string_normalizer::DEF,
    &super::label_encoder::DEF,
    &super::tree_ensemble::DEF,
    &super::regex_full_match::DEF,
    &super::image_decoder::DEF,
    &super::cast_string::TO_STRING,
    &super::cast_string::FROM_STRING,
];

/// All operators, by id and version.
pub fn all() -> &'static [&'static OpDef] {
    TABLE
}

/// The row with this id and version.
pub fn by_id(id: OpId, version: u16) -> Option<&'static OpDef> {
    static INDEX: LazyLock<BTreeMap<(OpId, u16), &'static OpDef>> =
        LazyLock::new(|| TABLE.iter().map(|def| ((def.id, def.version), *def)).collect());
    INDEX.get(&(id, version)).copied()
}

/// The newest version of the operator with this name.
pub fn by_name(name: &str) -> Option<&'static OpDef> {
    static INDEX: LazyLock<BTreeMap<&'static str, &'static OpDef>> =
        LazyLock::new(|| TABLE.iter().map(|def| (def.name, *def)).collect());
    INDEX.get(name).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ops::{Arity, Presence};

    #[test]
    fn rows_are_ordered_and_unique() {
        let keys: Vec<_> = TABLE.iter().map(|d| (d.id, d.version)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "ascending, no id twice: {keys:?}");
        let names: BTreeSet<_> = TABLE.iter().map(|d| (d.name, d.version)).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn rows_are_complete() {
        for def in TABLE {
            assert!(def.doc.len() > 20, "{} has a doc", def.name);
            let Arity { min, max } = def.inputs;
            assert!(min <= max && def.outputs.min >= 1, "{}", def.name);
            assert!(def.attrs.is_sorted_by_key(|a| a.name), "{}: attributes sorted by name", def.name);
            for attr in def.attrs {
                if let Presence::Default(value) = attr.presence {
                    assert_eq!(value().kind(), attr.kind, "{} {}", def.name, attr.name);
                }
            }
        }
    }
}
