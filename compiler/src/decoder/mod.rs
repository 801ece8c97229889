//! Decoders: language models of the Llama family, from their files to a [`Graph`](crate::graph::Graph).
//!
//! GGUF files and Hugging Face folders give one [`Decoder`]: a configuration, tensors under names, and the texts that
//! belong to it. `build` makes of it a sequence program's graph: inputs `tokens` and `positions`, output `logits`, all
//! values with the positions as their first axis, and only attention looking at other rows.
//!
//! Invariant: every tensor of the files has a part in the graph or is known to need none; anything else is an error, so
//! that no model is computed without a part of it that this crate does not know.

mod blocks;
mod build;
mod config;
mod error;
mod from_gguf;
mod from_json;
mod names;
mod rotary;
mod tensors;

use std::collections::BTreeMap;

pub(crate) use build::attach;
pub use build::build;
pub use config::{Activation, DecoderConfig, Layer, Rope, Scaling};
pub use error::ModelError;
pub use from_gguf::from_gguf;
pub use from_json::{from_folder, texts_beside};
pub use names::{Naming, Role};
pub use tensors::{Format, Stored};

/// The scale of attention over keys of `d` elements: 1 / sqrt(d), rounded to f32 once.
pub(crate) fn attention_scale(d: usize) -> f32 {
    rotary::inverse_root(d as f64)
}

/// 1 / c, rounded once.
pub(crate) fn reciprocal(c: f32) -> f32 {
    rotary::reciprocal(c)
}

/// A model that has been read, and not built yet.
pub struct Decoder {
    pub name: String,
    pub config: DecoderConfig,
    pub naming: Naming,
    pub tensors: BTreeMap<String, Stored>,
    pub texts: Texts,
}

/// What a program carries so that text can go in and come out.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Texts {
    /// Hugging Face's `tokenizer.json`.
    pub tokenizer: Option<Vec<u8>>,
    /// A Jinja template.
    pub chat_template: Option<String>,
    /// A JSON object: see [`Generation`].
    pub generation: Generation,
}

/// What the model says of generating. Numbers that are no integers are decimal text, as the source writes them.
#[derive(Clone, Default, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Generation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u64>,
    pub context_length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eos_token: Option<String>,
    /// Any of them ends an answer.
    pub eos_token_ids: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<String>,
}

/// Positions that a program is made for when the model allows more: the tables of rotations are as long.
pub const CONTEXT_DEFAULT_MAX: usize = 32_768;
