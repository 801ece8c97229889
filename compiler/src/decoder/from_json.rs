//! A Hugging Face folder as a decoder: `config.json`, safetensors, `tokenizer.json`, the chat template,
//! `generation_config.json`.
//!
//! Where a configuration leaves something out, its default is that of the `transformers` library for the model's type.

use std::path::Path;

use repops::program::Source;
use serde_json::{Map, Value};

use super::config::{Activation, CONTEXT_MAX, DecoderConfig, Layer, Rope, Scaling};
use super::error::ModelError;
use super::names::Naming;
use super::{CONTEXT_DEFAULT_MAX, Decoder, Generation, Texts, rotary};
use crate::{folder, safetensors};

const SUPPORTED: &str = "llama, mistral, qwen2, qwen3, gemma2 and gemma3_text";
const CONFIG_BYTES_MAX: u64 = 4 << 20;
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
const TOKENIZER_BYTES_MAX: u64 = 128 << 20;

/// Reads the decoder of a folder, and the files that it came from; `context` overrides the number of positions.
pub fn from_folder(path: &Path, context: Option<usize>) -> Result<(Decoder, Vec<Source>), ModelError> {
    let mut files = Files { folder: path, sources: Vec::new() };
    let config = files.object("config.json")?.ok_or(ModelError::NoModel)?;
    let read = files.texts()?;

    let mut decoder_config = configuration(&config)?;
    let trained = decoder_config.context;
    decoder_config.context = context.unwrap_or(trained.min(CONTEXT_DEFAULT_MAX)).min(CONTEXT_MAX);
    let texts = read.with(&config, decoder_config.context as u64)?;
    let (tensors, weights) = safetensors::load(path)?;
    // Frequencies that older files hold: they follow from the configuration.
    let tensors = tensors.into_iter().filter(|(name, _)| !name.ends_with("rotary_emb.inv_freq")).collect();
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let naming = Naming::HuggingFace { post_norms: decoder_config.post_norms };
    let mut sources = files.sources;
    sources.extend(weights);
    Ok((Decoder { name, config: decoder_config, naming, tensors, texts }, sources))
}

/// The texts that lie beside an exported model, and the files that they came from. What `genai_config.json` says of the
/// model stands in for what `config.json` and `generation_config.json` do not say.
pub fn texts_beside(folder: &Path, context: Option<usize>) -> Result<(Texts, Vec<Source>), ModelError> {
    let mut files = Files { folder, sources: Vec::new() };
    let mut config = files.object("config.json")?.unwrap_or_default();
    let mut read = files.texts()?;
    if let Some(genai) = files.object("genai_config.json")? {
        let (model, search) = (genai.object("model")?, genai.object("search")?);
        for (key, value) in model.iter().flat_map(|model| &model.0).filter(|(_, value)| !value.is_object()) {
            let key = if key == "context_length" { "max_position_embeddings" } else { key };
            config.0.entry(key).or_insert_with(|| value.clone());
        }
        for (key, value) in search.iter().flat_map(|search| &search.0) {
            read.generation.0.entry(key).or_insert_with(|| value.clone());
        }
    }
    let trained = config.extent("max_position_embeddings")?.unwrap_or(CONTEXT_DEFAULT_MAX);
    let length = context.unwrap_or(trained.min(CONTEXT_DEFAULT_MAX)).min(CONTEXT_MAX);
    Ok((read.with(&config, length as u64)?, files.sources))
}

/// A folder whose files are read, and what was read.
struct Files<'p> {
    folder: &'p Path,
    sources: Vec<Source>,
}

impl Files<'_> {
    fn read(&mut self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ModelError> {
        let bytes = folder::optional(self.folder, name, limit)?;
        self.sources.extend(bytes.iter().map(|bytes| folder::source_of(name, bytes)));
        Ok(bytes)
    }

    fn object(&mut self, name: &str) -> Result<Option<Object>, ModelError> {
        let Some(bytes) = self.read(name, CONFIG_BYTES_MAX)? else { return Ok(None) };
        let wrong = |problem: String| ModelError::File { path: self.folder.join(name), problem };
        match serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))? {
            Value::Object(map) => Ok(Some(Object(map))),
            _ => Err(wrong("is no object".to_string())),
        }
    }

    fn texts(&mut self) -> Result<Read, ModelError> {
        let generation = self.object("generation_config.json")?.unwrap_or_default();
        let tokenizer_config = self.object("tokenizer_config.json")?.unwrap_or_default();
        let tokenizer = self.read("tokenizer.json", TOKENIZER_BYTES_MAX)?;
        let template = match self.read("chat_template.jinja", TEMPLATE_BYTES_MAX)? {
            Some(bytes) => Some(String::from_utf8(bytes).map_err(|_| ModelError::File {
                path: self.folder.join("chat_template.jinja"),
                problem: "is no UTF-8".to_string(),
            })?),
            None => tokenizer_config.template(),
        };
        Ok(Read { generation, tokenizer_config, tokenizer, template })
    }
}

/// What a folder says beside its configuration.
struct Read {
    generation: Object,
    tokenizer_config: Object,
    tokenizer: Option<Vec<u8>>,
    template: Option<String>,
}

impl Read {
    fn with(self, config: &Object, context: u64) -> Result<Texts, ModelError> {
        let generation = texts_of(&self.generation, config, &self.tokenizer_config, context)?;
        Ok(Texts { tokenizer: self.tokenizer, chat_template: self.template, generation })
    }
}

/// A JSON object whose values are asked for by type.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    /// The value; null is as good as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let wrong = || ModelError::Key { key: key.to_string(), problem: format!("is not {expected}") };
        read(value).map(Some).ok_or_else(wrong)
    }

    fn extent(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let read = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        Ok(self.typed(key, "a size", read)?.map(|value| value as usize))
    }

    fn needed(&self, key: &str) -> Result<usize, ModelError> {
        self.extent(key)?.ok_or_else(|| ModelError::NoKey { key: key.to_string() })
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", Value::as_f64)
    }

    fn bool(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "a bool", Value::as_bool)
    }

    fn str(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a string", Value::as_str)
    }

    fn object(&self, key: &str) -> Result<Option<Object>, ModelError> {
        self.typed(key, "an object", |value| value.as_object().cloned().map(Object))
    }

    /// A token's number, or several.
    fn ids(&self, key: &str) -> Result<Option<Vec<u64>>, ModelError> {
        self.typed(key, "a token's number, or a list of them", |value| match value {
            Value::Array(list) => list.iter().map(Value::as_u64).collect(),
            other => other.as_u64().map(|id| vec![id]),
        })
    }

    /// A token's text, alone or in a description.
    fn token(&self, key: &str) -> Option<String> {
        let value = self.get(key)?;
        value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_string)
    }

    /// The chat template: a string, or a list of named ones.
    fn template(&self) -> Option<String> {
        match self.get("chat_template")? {
            Value::String(text) => Some(text.clone()),
            Value::Array(list) => {
                let default =
                    list.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"));
                Some(default?.get("template")?.as_str()?.to_string())
            }
            _ => None,
        }
    }
}

fn configuration(config: &Object) -> Result<DecoderConfig, ModelError> {
    let kind =
        config.str("model_type")?.ok_or_else(|| ModelError::NoKey { key: "model_type".to_string() })?;
    let gemma = matches!(kind, "gemma2" | "gemma3_text");
    if !matches!(kind, "llama" | "mistral" | "qwen2" | "qwen3") && !gemma {
        let architecture = kind.to_string();
        return Err(ModelError::Architecture { architecture, supported: SUPPORTED });
    }
    let gemma2 = kind == "gemma2";
    let hidden = config.needed("hidden_size")?;
    let heads = config.needed("num_attention_heads")?.max(1);
    let default_dim = match kind {
        "gemma2" | "gemma3_text" => 256,
        "qwen3" => 128,
        _ => hidden / heads,
    };
    let key_dim = config.extent("head_dim")?.unwrap_or(default_dim);
    let scale_of = match config.number("query_pre_attn_scalar")? {
        Some(scalar) if gemma => scalar,
        None if gemma => 256.0,
        _ => key_dim as f64,
    };
    let softcap = |key: &str, default: f64| -> Result<f32, ModelError> {
        // An explicit null says: none.
        let default = if gemma2 && !config.0.contains_key(key) { default } else { 0.0 };
        Ok(config.number(key)?.unwrap_or(default) as f32)
    };
    let attention_bias = config.bool("attention_bias")?.unwrap_or(false);
    let (ropes, layers) = layers(config, kind, key_dim)?;
    Ok(DecoderConfig {
        architecture: kind.to_string(),
        context: config.needed("max_position_embeddings")?,
        hidden,
        intermediate: config.needed("intermediate_size")?,
        heads,
        kv_heads: config.extent("num_key_value_heads")?.unwrap_or(heads),
        key_dim,
        value_dim: key_dim,
        norm_epsilon: config.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        norm_plus_one: gemma,
        embedding_scale: gemma.then(|| rotary::root(hidden as f64)),
        activation: activation(config, gemma)?,
        attention_scale: rotary::inverse_root(scale_of),
        attention_softcap: softcap("attn_logit_softcapping", 50.0)?,
        logit_softcap: softcap("final_logit_softcapping", 30.0)?,
        qk_norm: matches!(kind, "qwen3" | "gemma3_text"),
        post_norms: gemma,
        qkv_bias: kind == "qwen2" || attention_bias,
        output_bias: attention_bias && kind != "qwen2",
        mlp_bias: config.bool("mlp_bias")?.unwrap_or(false),
        tied: config.bool("tie_word_embeddings")?.unwrap_or(gemma),
        ropes,
        layers,
    })
}

fn activation(config: &Object, gemma: bool) -> Result<Activation, ModelError> {
    let key = if gemma { "hidden_activation" } else { "hidden_act" };
    let default = if gemma { "gelu_pytorch_tanh" } else { "silu" };
    match config.str(key)?.unwrap_or(default) {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => Err(ModelError::Key {
            key: key.to_string(),
            problem: format!("{other:?} is not supported; silu and gelu_pytorch_tanh are"),
        }),
    }
}

/// The rotations, and each layer's window and rotation.
fn layers(config: &Object, kind: &str, key_dim: usize) -> Result<(Vec<Rope>, Vec<Layer>), ModelError> {
    let gemma3 = kind == "gemma3_text";
    let count = config.needed("num_hidden_layers")?.min(u16::MAX.into());
    let local = local_layers(config, kind, count)?;
    let default_window = if kind == "gemma2" || gemma3 { 4096 } else { 0 };
    let window = match config.extent("sliding_window")? {
        Some(window) => window,
        None if config.0.contains_key("sliding_window") => 0,
        None => default_window,
    };
    let mut ropes = vec![rope(config, kind, key_dim)?];
    if gemma3 {
        let base = config.number("rope_local_base_freq")?.unwrap_or(10_000.0);
        ropes.push(Rope { base, scaling: Scaling::None, ..ropes[0].clone() });
    }
    let layer =
        |local: &bool| Layer { window: if *local { window } else { 0 }, rope: usize::from(*local && gemma3) };
    Ok((ropes, local.iter().map(layer).collect()))
}

/// For each layer whether its attention has the window.
fn local_layers(config: &Object, kind: &str, count: usize) -> Result<Vec<bool>, ModelError> {
    if let Some(types) = config.typed("layer_types", "a list", Value::as_array)? {
        let wrong = |problem: String| ModelError::Key { key: "layer_types".to_string(), problem };
        if types.len() != count {
            return Err(wrong(format!("{} are given for {count} layers", types.len())));
        }
        return types
            .iter()
            .map(|ty| match ty.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                _ => Err(wrong(format!("{ty} is not supported; full_attention and sliding_attention are"))),
            })
            .collect();
    }
    let every = |pattern: usize| (0..count).map(|layer| !(layer + 1).is_multiple_of(pattern)).collect();
    Ok(match kind {
        "mistral" => vec![true; count],
        "gemma2" => every(2),
        "gemma3_text" => {
            let old = config.extent("sliding_window_pattern")?;
            every(old.or(config.extent("_sliding_window_pattern")?).unwrap_or(6))
        }
        "qwen2" | "qwen3" if config.bool("use_sliding_window")?.unwrap_or(false) => {
            let first = config.extent("max_window_layers")?.unwrap_or(28);
            (0..count).map(|layer| layer >= first).collect()
        }
        _ => vec![false; count],
    })
}

fn rope(config: &Object, kind: &str, key_dim: usize) -> Result<Rope, ModelError> {
    // Newer files have one object, for Gemma 3 one for each type of layer.
    let parameters = config.object("rope_parameters")?;
    let parameters = match &parameters {
        Some(all) => Some(all.object("full_attention")?.unwrap_or_else(|| Object(all.0.clone()))),
        None => config.object("rope_scaling")?,
    };
    let base = config.number("rope_theta")?;
    let inner = parameters.as_ref().map(|p| p.number("rope_theta")).transpose()?.flatten();
    let default = if kind == "gemma3_text" { 1_000_000.0 } else { 10_000.0 };
    let scaling = parameters.map_or(Ok(Scaling::None), |parameters| scaling(&parameters, config))?;
    let fraction = config.number("partial_rotary_factor")?.unwrap_or(1.0);
    if fraction != 1.0 {
        let problem = format!("{fraction} is not supported; 1 is");
        return Err(ModelError::Key { key: "partial_rotary_factor".to_string(), problem });
    }
    Ok(Rope { base: inner.or(base).unwrap_or(default), dims: key_dim, interleaved: false, scaling })
}

fn scaling(parameters: &Object, config: &Object) -> Result<Scaling, ModelError> {
    let needed = |key: &str| -> Result<f64, ModelError> {
        parameters.number(key)?.ok_or_else(|| ModelError::NoKey { key: format!("rope_scaling.{key}") })
    };
    let original = || -> Result<f64, ModelError> {
        let trained = config.needed("max_position_embeddings")? as f64;
        Ok(parameters.number("original_max_position_embeddings")?.unwrap_or(trained))
    };
    let kind = match parameters.str("rope_type")? {
        Some(kind) => Some(kind),
        None => parameters.str("type")?,
    };
    Ok(match kind {
        None | Some("default") => Scaling::None,
        Some("linear") => Scaling::Linear { factor: needed("factor")? },
        Some("llama3") => Scaling::Llama3 {
            factor: needed("factor")?,
            low: needed("low_freq_factor")?,
            high: needed("high_freq_factor")?,
            original: original()?,
        },
        Some("yarn") => Scaling::Yarn {
            factor: needed("factor")?,
            original: original()?,
            fast: parameters.number("beta_fast")?.unwrap_or(32.0),
            slow: parameters.number("beta_slow")?.unwrap_or(1.0),
            attention: parameters.number("attention_factor")?,
        },
        Some(other) => {
            let problem = format!("{other:?} is not supported; default, linear, llama3 and yarn are");
            return Err(ModelError::Key { key: "rope_scaling".to_string(), problem });
        }
    })
}

/// What the files say of generating. Sampling is the default only where they say `do_sample`.
fn texts_of(
    generation: &Object,
    config: &Object,
    tokenizer: &Object,
    context: u64,
) -> Result<Generation, ModelError> {
    let ids = |key: &str| -> Result<Vec<u64>, ModelError> {
        Ok(generation.ids(key)?.or(config.ids(key)?).unwrap_or_default())
    };
    let samples = generation.bool("do_sample")?.unwrap_or(false);
    let decimal = |key: &str| -> Result<Option<String>, ModelError> {
        let text = generation.typed(key, "a number", |value| value.is_number().then(|| value.to_string()))?;
        Ok(text.filter(|_| samples))
    };
    let temperature = decimal("temperature")?.or(samples.then(|| "1.0".to_string()));
    Ok(Generation {
        bos_token: tokenizer.token("bos_token"),
        bos_token_id: ids("bos_token_id")?.first().copied(),
        context_length: context,
        eos_token: tokenizer.token("eos_token"),
        eos_token_ids: ids("eos_token_id")?,
        min_p: decimal("min_p")?,
        repetition_penalty: decimal("repetition_penalty")?,
        temperature,
        top_k: decimal("top_k")?,
        top_p: decimal("top_p")?,
    })
}
