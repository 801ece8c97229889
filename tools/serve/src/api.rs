//! Requests as OpenAI's clients send them, checked: what cannot be done is refused by the name of its field.
//!
//! Fields that only describe are ignored; fields that would change the answer and are not supported are errors.

use axum::http::StatusCode;
use repops::sequence::sampling::Sampling;
use repops_runtime::generation::{Request, SEED_MAX};
use repops_text::{Generation, Message, Text};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Refusal;

/// Answers to one request.
const CHOICES_MAX: u64 = 16;
/// Likeliest tokens beside each chosen one, as OpenAI limits them: of a chat, and of a completion.
const ALTERNATIVES_MAX: u64 = 20;
const COMPLETION_ALTERNATIVES_MAX: u64 = 5;
const STOPS_MAX: usize = 16;
const STOP_BYTES_MAX: usize = 1 << 10;
const MESSAGES_MAX: usize = 4096;

/// One or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// What both kinds of request have.
#[derive(Deserialize)]
pub struct Common {
    pub model: Option<String>,
    pub max_tokens: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// Not OpenAI's, as llama.cpp and vLLM name them.
    pub top_k: Option<i64>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub seed: Option<i64>,
    pub nonce: Option<u64>,
    pub stop: Option<OneOrMany<String>>,
    #[serde(default)]
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub n: Option<u64>,
    pub logit_bias: Option<Value>,
}

#[derive(Deserialize)]
pub struct StreamOptions {
    #[serde(default)]
    pub include_usage: bool,
}

#[derive(Deserialize)]
pub struct Chat {
    #[serde(flatten)]
    pub common: Common,
    pub messages: Vec<ChatMessage>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u64>,
    pub tools: Option<Value>,
    pub response_format: Option<Value>,
}

#[derive(Deserialize)]
pub struct ChatMessage {
    pub role: String,
    pub content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
pub struct Part {
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
}

#[derive(Deserialize)]
pub struct Completion {
    #[serde(flatten)]
    pub common: Common,
    pub prompt: Prompt,
    pub logprobs: Option<u64>,
    pub echo: Option<bool>,
    pub suffix: Option<String>,
    pub best_of: Option<u64>,
}

/// Text or tokens; a list of one of either is as good.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
    Texts(Vec<String>),
    TokenLists(Vec<Vec<u32>>),
}

/// What is asked for, checked.
#[derive(Debug)]
pub struct Asked {
    /// Of the first answer; the others have the seeds that follow.
    pub request: Request,
    /// Answers.
    pub choices: usize,
    pub stops: Vec<String>,
    pub stream: bool,
    pub usage: bool,
    pub logprobs: bool,
}

/// What a server allows.
pub struct Limits<'a> {
    pub model: &'a str,
    pub tokens_max: usize,
}

impl Chat {
    pub fn check(self, text: &Text, limits: &Limits<'_>) -> Result<Asked, Refusal> {
        let given = |value: &Option<Value>| {
            value.as_ref().is_some_and(|v| !v.is_null() && v.as_array().is_none_or(|list| !list.is_empty()))
        };
        if given(&self.tools) {
            return Err(Refusal::field("tools", "tools are not supported"));
        }
        let plain = |format: &Value| format.get("type").and_then(Value::as_str) == Some("text");
        if self.response_format.as_ref().is_some_and(|format| !format.is_null() && !plain(format)) {
            return Err(Refusal::field("response_format", "only text is supported"));
        }
        let logprobs = self.logprobs.unwrap_or(false);
        let alternatives = self.top_logprobs.unwrap_or(0);
        if alternatives > ALTERNATIVES_MAX || (alternatives > 0 && !logprobs) {
            let problem = format!("0 to {ALTERNATIVES_MAX} are supported, and only with logprobs");
            return Err(Refusal::field("top_logprobs", problem));
        }
        if self.messages.is_empty() || self.messages.len() > MESSAGES_MAX {
            let problem = format!("{} messages; 1 to {MESSAGES_MAX} are taken", self.messages.len());
            return Err(Refusal::field("messages", problem));
        }
        let messages = self.messages.into_iter().enumerate().map(|(at, message)| message.plain(at));
        let messages = messages.collect::<Result<Vec<Message>, Refusal>>()?;
        let prompt =
            text.chat_tokens(&messages).map_err(|error| Refusal::field("messages", error.to_string()))?;
        self.common.asked(prompt, "messages", logprobs.then_some(alternatives), text, limits)
    }
}

impl ChatMessage {
    fn plain(self, at: usize) -> Result<Message, Refusal> {
        let param = || format!("messages[{at}].content");
        let content = match self.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                let part = |part: Part| match (part.kind.as_str(), part.text) {
                    ("text", Some(text)) => Ok(text),
                    (kind, _) => {
                        Err(Refusal::field(&param(), format!("parts of type {kind:?} are not supported")))
                    }
                };
                parts.into_iter().map(part).collect::<Result<Vec<String>, Refusal>>()?.concat()
            }
        };
        Ok(Message { role: self.role, content })
    }
}

impl Completion {
    pub fn check(self, text: &Text, limits: &Limits<'_>) -> Result<Asked, Refusal> {
        if self.echo.unwrap_or(false) {
            return Err(Refusal::field("echo", "echo is not supported"));
        }
        if self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            return Err(Refusal::field("suffix", "a suffix is not supported"));
        }
        if self.best_of.is_some_and(|best| best != self.common.n.unwrap_or(1)) {
            return Err(Refusal::field("best_of", "only as many as n are supported"));
        }
        if self.logprobs.unwrap_or(0) > COMPLETION_ALTERNATIVES_MAX {
            let problem = format!("0 to {COMPLETION_ALTERNATIVES_MAX} are supported");
            return Err(Refusal::field("logprobs", problem));
        }
        let encode = |prompt: &str| {
            text.encode(prompt, true).map_err(|error| Refusal::field("prompt", error.to_string()))
        };
        let prompt = match self.prompt {
            Prompt::Text(prompt) => encode(&prompt)?,
            Prompt::Tokens(tokens) => tokens,
            Prompt::Texts(texts) if texts.len() == 1 => encode(&texts[0])?,
            Prompt::TokenLists(mut lists) if lists.len() == 1 => lists.remove(0),
            _ => return Err(Refusal::field("prompt", "one prompt at a time is supported")),
        };
        self.common.asked(prompt, "prompt", self.logprobs, text, limits)
    }
}

impl Common {
    fn asked(
        self,
        prompt: Vec<u32>,
        param: &str,
        logprobs: Option<u64>,
        text: &Text,
        limits: &Limits<'_>,
    ) -> Result<Asked, Refusal> {
        let generation = text.generation();
        if let Some(model) = &self.model
            && model != limits.model
        {
            let problem = format!("the model {model:?} does not exist; {:?} does", limits.model);
            let refusal = Refusal { status: StatusCode::NOT_FOUND, ..Refusal::field("model", problem) };
            return Err(refusal.code("model_not_found"));
        }
        let choices = self.n.unwrap_or(1);
        if choices == 0 || choices > CHOICES_MAX {
            return Err(Refusal::field("n", format!("1 to {CHOICES_MAX} are supported")));
        }
        let biased = |bias: &Value| bias.as_object().is_none_or(|bias| !bias.is_empty());
        if self.logit_bias.as_ref().is_some_and(|bias| !bias.is_null() && biased(bias)) {
            return Err(Refusal::field("logit_bias", "a bias of logits is not supported"));
        }
        if prompt.is_empty() {
            return Err(Refusal::field(param, "it has no tokens"));
        }
        let max_tokens = max_tokens(&self, prompt.len(), param, generation, limits)?;
        let sampling = self.sampling(generation)?;
        let seed = self.seed.unwrap_or(0);
        let last = SEED_MAX - (choices - 1);
        let seed = u64::try_from(seed).ok().filter(|seed| *seed <= last);
        let seed = seed.ok_or_else(|| Refusal::field("seed", format!("0 to {last} are supported")))?;
        let nonce = Some(self.nonce.unwrap_or(0)).filter(|nonce| *nonce <= SEED_MAX);
        let nonce = nonce.ok_or_else(|| Refusal::field("nonce", format!("0 to {SEED_MAX} are supported")))?;
        let stops = match self.stop {
            None => Vec::new(),
            Some(OneOrMany::One(stop)) => vec![stop],
            Some(OneOrMany::Many(stops)) => stops,
        };
        if stops.len() > STOPS_MAX || stops.iter().any(|stop| stop.len() > STOP_BYTES_MAX) {
            let problem = format!("at most {STOPS_MAX} strings of {STOP_BYTES_MAX} bytes are supported");
            return Err(Refusal::field("stop", problem));
        }
        let stop = generation.eos_token_ids.clone();
        Ok(Asked {
            request: Request {
                prompt,
                max_tokens,
                sampling,
                seed,
                nonce,
                stop,
                alternatives: logprobs.unwrap_or(0) as usize,
            },
            choices: choices as usize,
            stops,
            stream: self.stream.unwrap_or(false),
            usage: self.stream_options.is_some_and(|options| options.include_usage),
            logprobs: logprobs.is_some(),
        })
    }

    /// The request's parameters, then the model's, then none: greedy.
    fn sampling(&self, generation: &Generation) -> Result<Sampling, Refusal> {
        let plain = Sampling::default();
        let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<f32>().ok());
        let pick =
            |given: Option<f32>, model: &Option<String>, plain: f32| given.or(number(model)).unwrap_or(plain);
        let top_k = match self.top_k {
            // vLLM's and llama.cpp's "all".
            Some(k) if k <= 0 => 0,
            Some(k) => u32::try_from(k).unwrap_or(0),
            None => generation.top_k.as_ref().and_then(|text| text.parse().ok()).unwrap_or(0),
        };
        let sampling = Sampling {
            temperature: pick(self.temperature, &generation.temperature, plain.temperature),
            top_k,
            top_p: pick(self.top_p, &generation.top_p, plain.top_p),
            min_p: pick(self.min_p, &generation.min_p, plain.min_p),
            repetition_penalty: pick(
                self.repetition_penalty,
                &generation.repetition_penalty,
                plain.repetition_penalty,
            ),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
        };
        sampling.check().map_err(|error| match &error {
            repops::sequence::sampling::SamplingError::Parameter { name, .. } => {
                Refusal::field(name, error.to_string())
            }
            _ => Refusal::new(StatusCode::BAD_REQUEST, error.to_string()),
        })?;
        Ok(sampling)
    }
}

/// How long the answer may become: within what is asked for, what the server allows, and what the model has positions for.
fn max_tokens(
    common: &Common,
    prompt: usize,
    param: &str,
    generation: &Generation,
    limits: &Limits<'_>,
) -> Result<usize, Refusal> {
    let context = usize::try_from(generation.context_length).ok().filter(|c| *c > 0).unwrap_or(usize::MAX);
    if prompt >= context {
        let problem = format!("it has {prompt} tokens; the model takes {context} with the answer");
        return Err(Refusal::field(param, problem).code("context_length_exceeded"));
    }
    let (field, asked) = match (common.max_completion_tokens, common.max_tokens) {
        (Some(asked), _) => ("max_completion_tokens", Some(asked)),
        (None, asked) => ("max_tokens", asked),
    };
    let Some(asked) = asked else { return Ok(limits.tokens_max.min(context - prompt)) };
    if asked == 0 || asked > limits.tokens_max as u64 {
        return Err(Refusal::field(field, format!("1 to {} are allowed", limits.tokens_max)));
    }
    if asked > (context - prompt) as u64 {
        let problem =
            format!("{prompt} tokens of prompt and {asked} of answer are more than the model's {context}");
        return Err(Refusal::field(field, problem).code("context_length_exceeded"));
    }
    Ok(asked as usize)
}
