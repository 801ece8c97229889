//! Arguments about generating text.

use std::path::PathBuf;

use clap::Args;

use super::{Engine, Level};

/// What a model is given. One of them.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Prompt {
    /// A text to continue.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// A question, put into the model's chat template.
    #[arg(long, value_name = "TEXT")]
    pub chat: Option<String>,
    /// A conversation: a JSON list of objects with `role` and `content`, or an object with `messages` and `tools`.
    #[arg(long, value_name = "FILE.json")]
    pub messages: Option<PathBuf>,
    /// Token ids.
    #[arg(long, value_name = "ID,..", value_delimiter = ',')]
    pub tokens: Vec<u32>,
}

/// How the next token is chosen. SPEC.md, "Sampling".
#[derive(Args)]
pub struct Sample {
    /// 0: always the likeliest token.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub temperature: f32,
    /// Consider so many tokens; 0: all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: u32,
    /// Consider the likeliest tokens that make up this share of probability.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Consider tokens at least this likely, the likeliest counting 1.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f32,
    /// Divide the logits of tokens that have occurred.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Take from the logits of tokens that were generated.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Take from the logits of tokens as often as they were generated.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Makes the noise, where the temperature is not 0.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

#[derive(Args)]
pub struct Generate {
    /// The program.
    pub program: PathBuf,
    #[command(flatten)]
    pub prompt: Prompt,
    /// Write at most so many tokens.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: usize,
    #[command(flatten)]
    pub sample: Sample,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Do not end at the tokens that the model ends with.
    #[arg(long)]
    pub ignore_eos: bool,
    /// A number that makes the request its own; it is part of the noise and of the receipt.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub nonce: u64,
    #[command(flatten)]
    pub engine: Engine,
    /// What is hashed.
    #[arg(long, value_name = "L", default_value = "operators")]
    pub hash: Level,
    /// Read the prompt in pieces of at most so many tokens.
    #[arg(long, value_name = "C", default_value_t = 512)]
    pub prefill_chunk: usize,
    /// Let keys and values take at most so many MiB.
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    pub cache: usize,
    /// Write a signed receipt.
    #[arg(long, value_name = "R.json")]
    pub receipt: Option<PathBuf>,
    /// Write what single positions are checked with: all rows are computed again, at once.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// The signing key; by default the user's own.
    #[arg(long, value_name = "KEY")]
    pub key: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl Generate {
    pub fn cache_bytes(&self) -> usize {
        self.cache.saturating_mul(1 << 20)
    }
}

#[derive(Args)]
pub struct Score {
    /// The program.
    pub program: PathBuf,
    #[command(flatten)]
    pub prompt: Prompt,
    /// The text that follows the prompt.
    #[arg(long, value_name = "TEXT", required_unless_present = "completion_tokens")]
    pub completion: Option<String>,
    /// The tokens that follow the prompt.
    #[arg(long, value_name = "ID,..", value_delimiter = ',', conflicts_with = "completion")]
    pub completion_tokens: Vec<u32>,
    #[command(flatten)]
    pub sample: Sample,
    #[command(flatten)]
    pub engine: Engine,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}
