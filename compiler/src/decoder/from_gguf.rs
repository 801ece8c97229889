//! GGUF's metadata as a decoder's configuration.
//!
//! Keys are those that llama.cpp's converter writes. Where it writes none because its runtime has a rule per
//! architecture, the rule is here.

use super::config::{Activation, CONTEXT_MAX, DecoderConfig, Layer, Rope, Scaling};
use super::error::ModelError;
use super::names::Naming;
use super::{CONTEXT_DEFAULT_MAX, Decoder, rotary};
use crate::gguf::{Gguf, Value, text};

const SUPPORTED: &str = "llama, qwen2, qwen3, gemma2 and gemma3";

/// What the architectures differ in.
struct Family {
    /// Llama's rows of queries and keys are permuted by the converter, so that pairs are neighbours.
    interleaved: bool,
    gemma: bool,
    qk_norm: bool,
    /// Every so many layers one looks back on everything; the others have windows.
    pattern: Option<usize>,
    /// The rotary base of layers with windows where it is another.
    local_base: Option<f64>,
    softcaps: [f64; 2],
    /// Layers of the one size whose scores are scaled by the hidden size's share per head.
    layers_of_27b: Option<usize>,
}

impl Family {
    fn of(architecture: &str) -> Option<Family> {
        let plain = Family {
            interleaved: false,
            gemma: false,
            qk_norm: false,
            pattern: None,
            local_base: None,
            softcaps: [0.0; 2],
            layers_of_27b: None,
        };
        Some(match architecture {
            "llama" => Family { interleaved: true, ..plain },
            "qwen2" => plain,
            "qwen3" => Family { qk_norm: true, ..plain },
            "gemma2" => Family {
                gemma: true,
                pattern: Some(2),
                softcaps: [50.0, 30.0],
                layers_of_27b: Some(46),
                ..plain
            },
            "gemma3" => Family {
                gemma: true,
                qk_norm: true,
                pattern: Some(6),
                local_base: Some(10_000.0),
                layers_of_27b: Some(62),
                ..plain
            },
            _ => return None,
        })
    }
}

/// The keys of one architecture.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        self.gguf.f64(&self.key(name))
    }

    fn extent(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let key = self.key(name);
        // Some files repeat a number for every layer.
        let value = match self.gguf.get(&key) {
            Some(Value::Array(array)) => {
                let mut values = array.values().map(|value| value.ok().and_then(|value| value.to_u64()));
                let first = values.next().flatten();
                if first.is_none() || values.any(|value| value != first) {
                    let problem = "layers differ, which is not supported".to_string();
                    return Err(ModelError::Key { key, problem });
                }
                first
            }
            _ => self.gguf.u64(&key)?,
        };
        let Some(value) = value else { return Ok(None) };
        let small = u32::try_from(value).ok().map(|value| value as usize);
        small.map(Some).ok_or_else(|| ModelError::Key { key, problem: format!("{value} is too large") })
    }

    fn needed(&self, name: &str) -> Result<usize, ModelError> {
        self.extent(name)?.ok_or_else(|| ModelError::NoKey { key: self.key(name) })
    }
}

/// Reads the decoder of a GGUF file; `context` overrides the number of positions.
pub fn from_gguf(gguf: Gguf, context: Option<usize>) -> Result<Decoder, ModelError> {
    let key = "general.architecture";
    let architecture = gguf.str(key)?.ok_or_else(|| ModelError::NoKey { key: key.to_string() })?.to_string();
    let family = Family::of(&architecture).ok_or_else(|| ModelError::Architecture {
        architecture: architecture.clone(),
        supported: SUPPORTED,
    })?;
    let mut config = configuration(&gguf, &architecture, &family)?;
    let trained = config.context;
    config.context = context.unwrap_or(trained.min(CONTEXT_DEFAULT_MAX)).min(CONTEXT_MAX);
    let texts = text::texts(&gguf, config.context as u64)?;
    let name = gguf.str("general.name")?.unwrap_or(&architecture).to_string();
    let mut tensors = gguf.into_tensors();
    // It is in the rotations' tables.
    tensors.remove(ROPE_FACTORS);
    Ok(Decoder { name, config, naming: Naming::Gguf, tensors, texts })
}

const ROPE_FACTORS: &str = "rope_freqs.weight";

fn configuration(gguf: &Gguf, architecture: &str, family: &Family) -> Result<DecoderConfig, ModelError> {
    let keys = Keys { gguf, architecture };
    if keys.extent("expert_count")?.unwrap_or(0) > 0 {
        let problem = "mixtures of experts are not supported".to_string();
        return Err(ModelError::Key { key: keys.key("expert_count"), problem });
    }
    let hidden = keys.needed("embedding_length")?;
    let heads = keys.needed("attention.head_count")?.max(1);
    let key_dim = keys.extent("attention.key_length")?.unwrap_or(hidden / heads);
    let count = keys.needed("block_count")?;
    let window = keys.extent("attention.sliding_window")?.unwrap_or(0);
    let epsilon = keys.number("attention.layer_norm_rms_epsilon")?;
    let softcap =
        |name: &str, default: f64| Ok::<_, ModelError>(keys.number(name)?.unwrap_or(default) as f32);
    let has = |tensor: &str| gguf.tensors().contains_key(tensor);

    let global = rope(&keys, family, key_dim)?;
    let mut ropes = vec![global];
    if let Some(base) = family.local_base {
        let base = keys.number("rope.freq_base_swa")?.unwrap_or(base);
        ropes.push(Rope { base, scaling: Scaling::None, ..ropes[0].clone() });
    }
    let layers = (0..count.min(u16::MAX.into())).map(|layer| {
        let local = family.pattern.is_none_or(|every| (layer + 1) % every != 0);
        Layer {
            window: if local { window } else { 0 },
            rope: usize::from(local && family.local_base.is_some()),
        }
    });
    let scale = match keys.number("attention.scale")? {
        Some(scale) => scale as f32,
        None if family.layers_of_27b == Some(count) => rotary::inverse_root((hidden / heads) as f64),
        None => rotary::inverse_root(key_dim as f64),
    };
    Ok(DecoderConfig {
        architecture: architecture.to_string(),
        context: keys.needed("context_length")?,
        hidden,
        intermediate: keys.needed("feed_forward_length")?,
        heads,
        kv_heads: keys.extent("attention.head_count_kv")?.unwrap_or(heads),
        key_dim,
        value_dim: keys.extent("attention.value_length")?.unwrap_or(key_dim),
        norm_epsilon: epsilon
            .ok_or_else(|| ModelError::NoKey { key: keys.key("attention.layer_norm_rms_epsilon") })?
            as f32,
        // The converter has added the 1.
        norm_plus_one: false,
        embedding_scale: family.gemma.then(|| rotary::root(hidden as f64)),
        activation: if family.gemma { Activation::GeluTanh } else { Activation::Silu },
        attention_scale: scale,
        attention_softcap: softcap("attn_logit_softcapping", family.softcaps[0])?,
        logit_softcap: softcap("final_logit_softcapping", family.softcaps[1])?,
        qk_norm: family.qk_norm,
        post_norms: family.gemma,
        qkv_bias: has("blk.0.attn_q.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_up.bias"),
        tied: !has("output.weight"),
        ropes,
        layers: layers.collect(),
    })
}

fn rope(keys: &Keys<'_>, family: &Family, key_dim: usize) -> Result<Rope, ModelError> {
    let original = keys.number("rope.scaling.original_context_length")?;
    let factor = keys.number("rope.scaling.factor")?.or(keys.number("rope.scale_linear")?);
    let kind = keys.key("rope.scaling.type");
    let scaling = match (keys.gguf.str(&kind)?, factor) {
        (None | Some("linear"), Some(factor)) if factor != 1.0 => Scaling::Linear { factor },
        (Some("yarn"), Some(factor)) => Scaling::Yarn {
            factor,
            original: original.unwrap_or(keys.needed("context_length")? as f64),
            fast: keys.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            slow: keys.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            attention: keys.number("rope.scaling.attn_factor")?,
        },
        (None | Some("none" | "linear"), _) => Scaling::None,
        (Some(other), _) => {
            let problem = format!("{other:?} is not supported; none, linear and yarn are");
            return Err(ModelError::Key { key: kind, problem });
        }
    };
    let scaling = match keys.gguf.tensors().get(ROPE_FACTORS) {
        None => scaling,
        Some(_) if scaling != Scaling::None => {
            let problem = format!("the file scales rotations by {ROPE_FACTORS:?}, too");
            return Err(ModelError::Key { key: kind, problem });
        }
        Some(factors) => {
            let count = factors.shape.iter().product();
            Scaling::Factors(factors.to_f32(ROPE_FACTORS, &[count])?.as_slice::<f32>().to_vec())
        }
    };
    Ok(Rope {
        base: keys.number("rope.freq_base")?.unwrap_or(10_000.0),
        dims: keys.extent("rope.dimension_count")?.unwrap_or(key_dim),
        interleaved: family.interleaved,
        scaling,
    })
}
