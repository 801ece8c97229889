//! The one configuration that all decoders are read into.

use super::error::ModelError;

/// A decoder of the Llama family.
#[derive(Clone, PartialEq, Debug)]
pub struct DecoderConfig {
    /// As the source names it.
    pub architecture: String,
    /// The most positions.
    pub context: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Elements of a query's or key's head, and of a value's.
    pub key_dim: usize,
    pub value_dim: usize,
    pub norm_epsilon: f32,
    /// Norms multiply by 1 + weight.
    pub norm_plus_one: bool,
    /// Embeddings are multiplied by this.
    pub embedding_scale: Option<f32>,
    pub activation: Activation,
    pub attention_scale: f32,
    /// Bounds of scores and logits by tanh; 0: none.
    pub attention_softcap: f32,
    pub logit_softcap: f32,
    /// Queries and keys are normalized head by head.
    pub qk_norm: bool,
    /// What attention and feed-forward give is normalized before it is added.
    pub post_norms: bool,
    pub qkv_bias: bool,
    pub output_bias: bool,
    pub mlp_bias: bool,
    /// The head is the embedding.
    pub tied: bool,
    pub ropes: Vec<Rope>,
    pub layers: Vec<Layer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    Silu,
    GeluTanh,
}

/// What differs from layer to layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layer {
    /// Positions that attention looks back on, its own included; 0: all.
    pub window: usize,
    /// Which of the rotations.
    pub rope: usize,
}

/// Rotary position embedding.
#[derive(Clone, PartialEq, Debug)]
pub struct Rope {
    pub base: f64,
    /// Elements of a head that are rotated.
    pub dims: usize,
    /// Pairs are neighbours, not halves.
    pub interleaved: bool,
    pub scaling: Scaling,
}

/// How frequencies are changed for contexts longer than those of training.
#[derive(Clone, PartialEq, Debug)]
pub enum Scaling {
    None,
    Linear {
        factor: f64,
    },
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
    Yarn {
        factor: f64,
        original: f64,
        fast: f64,
        slow: f64,
        attention: Option<f64>,
    },
    /// Each frequency is divided by its factor.
    Factors(Vec<f32>),
}

/// Extents above this are refused, so that products of three are numbers.
const EXTENT_MAX: usize = 1 << 20;
const LAYERS_MAX: usize = 1 << 12;
/// Positions.
pub(super) const CONTEXT_MAX: usize = 1 << 20;

impl DecoderConfig {
    /// Checks everything that tensors' shapes do not check.
    pub fn check(&self) -> Result<(), ModelError> {
        let wrong = |key: &str, problem: String| Err(ModelError::Key { key: key.to_string(), problem });
        for (key, value, limit) in [
            ("layers", self.layers.len(), LAYERS_MAX),
            ("context length", self.context, CONTEXT_MAX),
            ("hidden size", self.hidden, EXTENT_MAX),
            ("feed-forward size", self.intermediate, EXTENT_MAX),
            ("heads", self.heads, EXTENT_MAX),
            ("key and value heads", self.kv_heads, EXTENT_MAX),
            ("head size", self.key_dim, EXTENT_MAX),
            ("value head size", self.value_dim, EXTENT_MAX),
        ] {
            if value == 0 || value > limit {
                return wrong(key, format!("{value} is not between 1 and {limit}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return wrong("heads", format!("{} heads do not share {} evenly", self.heads, self.kv_heads));
        }
        for (key, value) in [
            ("norm epsilon", self.norm_epsilon),
            ("attention scale", self.attention_scale),
            ("attention soft cap", self.attention_softcap),
            ("logit soft cap", self.logit_softcap),
            ("embedding scale", self.embedding_scale.unwrap_or(1.0)),
        ] {
            if !value.is_finite() || value < 0.0 {
                return wrong(key, format!("{value} is negative or no number"));
            }
        }
        for rope in &self.ropes {
            if rope.dims == 0 || !rope.dims.is_multiple_of(2) || rope.dims > self.key_dim {
                let problem =
                    format!("{} elements of heads of {} cannot be rotated", rope.dims, self.key_dim);
                return wrong("rotary dimensions", problem);
            }
            rope.check()?;
        }
        Ok(())
    }
}

impl Rope {
    fn check(&self) -> Result<(), ModelError> {
        let mut numbers = vec![("rotary base", self.base)];
        match &self.scaling {
            Scaling::None => {}
            Scaling::Linear { factor } => numbers.push(("rotary scaling factor", *factor)),
            Scaling::Llama3 { factor, low, high, original } => numbers.extend([
                ("rotary scaling factor", *factor),
                ("low_freq_factor", *low),
                ("high_freq_factor", *high),
                ("original context", *original),
            ]),
            Scaling::Yarn { factor, original, fast, slow, attention } => numbers.extend([
                ("rotary scaling factor", *factor),
                ("original context", *original),
                ("beta_fast", *fast),
                ("beta_slow", *slow),
                ("attention factor", attention.unwrap_or(1.0)),
            ]),
            Scaling::Factors(factors) => {
                if factors.len() != self.dims / 2 {
                    return Err(ModelError::Key {
                        key: "rotary factors".to_string(),
                        problem: format!("{} are given for {} frequencies", factors.len(), self.dims / 2),
                    });
                }
                numbers.extend(factors.iter().map(|&factor| ("rotary factors", f64::from(factor))));
            }
        }
        for (key, value) in numbers {
            if !value.is_finite() || value <= 0.0 {
                let problem = format!("{value} is not above 0");
                return Err(ModelError::Key { key: key.to_string(), problem });
            }
        }
        Ok(())
    }
}
