//! Text in and out of a language model: its tokenizer, its chat template, and what it says of generating, all from the
//! program that carries them.
//!
//! Everything comes from whoever made the program and is hostile until it has been read: sizes are limited, a template runs with
//! limited steps and output and sees nothing but the conversation, and a tokenizer's fault is an error.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod bpe;
mod conversation;
mod stop;
mod stream;
mod template;
mod tokenizer;

use std::panic::{AssertUnwindSafe, catch_unwind};

use repops::program::{ConstantId, Program};
use serde::{Deserialize, Serialize};

pub use conversation::Conversation;
pub use stop::{Stopped, Stops};
pub use stream::Stream;
pub use template::{Message, Template};
use tokenizer::Tokenizer;

/// Names of the constants that hold the texts.
pub const TOKENIZER: &str = "repops:tokenizer.json";
pub const CHAT_TEMPLATE: &str = "repops:chat_template";
pub const GENERATION: &str = "repops:generation.json";

/// Bytes of a text that is tokenized at once.
pub const TEXT_BYTES_MAX: usize = 16 << 20;
const TOKENIZER_BYTES_MAX: usize = 128 << 20;
const TEMPLATE_BYTES_MAX: usize = 1 << 20;

/// Why text cannot go in or come out.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("the program carries no tokenizer: it was compiled from a model that has none")]
    NoTokenizer,
    #[error("the program carries no chat template")]
    NoTemplate,
    #[error("constant {name:?}: {problem}")]
    Constant { name: &'static str, problem: String },
    #[error("the tokenizer refuses the text: {problem}")]
    Encode { problem: String },
    #[error("the tokenizer has no text for the tokens: {problem}")]
    Decode { problem: String },
    #[error("no list of messages such as [{{\"role\": \"user\", \"content\": \"..\"}}]: {problem}")]
    Conversation { problem: String },
    #[error("the chat template refuses the conversation: {problem}")]
    Refused { problem: String },
    #[error("the chat template failed: {problem}")]
    Template { problem: String },
    #[error("a text of {found} bytes is above the limit of {limit}")]
    TooLong { found: usize, limit: usize },
}

pub type Result<T> = std::result::Result<T, TextError>;

/// What the model says of generating. Numbers that are no integers are decimal text.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    pub bos_token: Option<String>,
    pub bos_token_id: Option<u32>,
    pub context_length: u64,
    pub eos_token: Option<String>,
    /// Any of them ends an answer.
    pub eos_token_ids: Vec<u32>,
    pub min_p: Option<String>,
    pub repetition_penalty: Option<String>,
    pub temperature: Option<String>,
    pub top_k: Option<String>,
    pub top_p: Option<String>,
}

/// The texts of a program.
pub struct Text {
    tokenizer: Tokenizer,
    template: Option<Template>,
    generation: Generation,
}

impl Text {
    /// Reads what a program carries.
    pub fn of(program: &Program) -> Result<Text> {
        let tokenizer = attached(program, TOKENIZER, TOKENIZER_BYTES_MAX)?.ok_or(TextError::NoTokenizer)?;
        let template = attached(program, CHAT_TEMPLATE, TEMPLATE_BYTES_MAX)?;
        let generation = attached(program, GENERATION, TEMPLATE_BYTES_MAX)?;
        Text::new(tokenizer, template, generation.unwrap_or(b"{}"))
    }

    /// Texts from their bytes.
    pub fn new(tokenizer: &[u8], template: Option<&[u8]>, generation: &[u8]) -> Result<Text> {
        let wrong = |name| move |problem: String| TextError::Constant { name, problem };
        let tokenizer = guarded(|| Tokenizer::parse(tokenizer)).map_err(wrong(TOKENIZER))?;
        let generation: Generation =
            serde_json::from_slice(generation).map_err(|error| wrong(GENERATION)(error.to_string()))?;
        let template = template
            .map(|bytes| {
                let source = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
                Template::new(source, &generation)
            })
            .transpose()
            .map_err(wrong(CHAT_TEMPLATE))?;
        Ok(Text { tokenizer, template, generation })
    }

    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Whether the token ends an answer.
    pub fn is_end(&self, token: u32) -> bool {
        self.generation.eos_token_ids.contains(&token)
    }

    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The tokens of a text. `special`: with those that the tokenizer puts around every text; a rendered
    /// conversation has its own already.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TextError::TooLong { found: text.len(), limit: TEXT_BYTES_MAX });
        }
        let encoding = guarded(|| self.tokenizer.encode(text, special));
        let encoding = encoding.map_err(|problem| TextError::Encode { problem })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens; those that are no text are left out, and bytes that are no UTF-8 replaced.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        guarded(|| self.tokenizer.decode(tokens)).map_err(|problem| TextError::Decode { problem })
    }

    /// A token as the vocabulary writes it.
    pub fn token(&self, token: u32) -> Option<String> {
        self.tokenizer.token(token)
    }

    /// The conversation as the model wants it, up to where its answer begins.
    pub fn chat(&self, messages: &[Message]) -> Result<String> {
        self.template.as_ref().ok_or(TextError::NoTemplate)?.render(messages, true)
    }

    /// The conversation as tokens.
    pub fn chat_tokens(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.encode(&self.chat(messages)?, false)
    }

    /// The same of a conversation with tools, calls of them, or contents in parts.
    pub fn conversation_tokens(&self, conversation: &Conversation) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or(TextError::NoTemplate)?;
        self.encode(&template.render_conversation(conversation, true)?, false)
    }

    /// Text from tokens as they come.
    pub fn stream(&self) -> Stream<'_> {
        Stream::new(self)
    }
}

/// The bytes of a constant that no step reads.
fn attached<'p>(program: &'p Program, name: &'static str, bytes_max: usize) -> Result<Option<&'p [u8]>> {
    let Some(index) = program.constants().iter().position(|decl| decl.name == name) else { return Ok(None) };
    let bytes = program.constant_bytes(ConstantId(index as u32));
    if bytes.len() > bytes_max {
        let problem = format!("{} bytes are above the limit of {bytes_max}", bytes.len());
        return Err(TextError::Constant { name, problem });
    }
    Ok(Some(bytes))
}

/// What a foreign library gives; its panic is an error like any other.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it meets a case that its library does not expect".to_string()),
    }
}
