//! Answers in OpenAI's shapes: in one piece, or as server-sent events; one to a request, or several.
//!
//! The answers to a request are jobs of their own, with consecutive seeds and a receipt each.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use repops_runtime::generation::Request;
use serde_json::{Map, Value, json};

use crate::api::Asked;
use crate::engine::{Done, Job, Token, Update, Updates};
use crate::error::Refusal;
use crate::handlers::App;

/// The header with the ids under which the receipts will be.
const RECEIPT: HeaderName = HeaderName::from_static("x-repops-receipt");
/// Silence after which a comment is sent, so that nobody takes the connection for dead.
const QUIET: Duration = Duration::from_secs(10);

/// Which shape answers have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Chat,
    Completion,
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "answers say when they were made; no bit depends on it")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub async fn answer(app: &Arc<App>, kind: Kind, asked: Asked) -> Result<Response, Refusal> {
    let id = app.id(if kind == Kind::Chat { "chatcmpl" } else { "cmpl" });
    let ids: Vec<String> = (0..asked.choices)
        .map(|choice| if choice == 0 { id.clone() } else { format!("{id}-{choice}") })
        .collect();
    let job = |(choice, id): (usize, &String)| Job {
        id: id.clone(),
        choice,
        request: Request { seed: asked.request.seed + choice as u64, ..asked.request.clone() },
        stops: asked.stops.clone(),
    };
    let jobs = ids.iter().enumerate().map(job).collect();
    let busy =
        || Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many requests are waiting: come again later");
    let mut updates = app.engine.submit(jobs).ok_or_else(busy)?;
    // What the first ones give may come before the last one is accepted.
    let (mut early, mut accepted) = (Vec::new(), 0);
    while accepted < asked.choices {
        match updates.recv().await {
            Some((_, Update::Accepted)) => accepted += 1,
            Some((_, Update::Refused(problem))) => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, problem));
            }
            Some(update) => early.push(update),
            None => return Err(closing()),
        }
    }
    early.reverse();
    let shape = Shape {
        kind,
        model: app.options.model.clone(),
        created: now(),
        id,
        prompt_tokens: asked.request.prompt.len(),
        logprobs: asked.logprobs,
        alternatives: asked.request.alternatives > 0,
    };
    let text = app.engine.text.clone();
    let name = move |token: u32| text.token(token).unwrap_or_default();
    let answers: Vec<Answer> = (0..asked.choices).map(|_| Answer::default()).collect();
    let mut response = if asked.stream {
        let usage = asked.usage;
        let events = Events { early, updates, shape, usage, name: Box::new(name), answers, over: false };
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        (headers, Body::from_stream(stream::unfold(events, next_event))).into_response()
    } else {
        whole(early, updates, answers, &shape, &name).await?
    };
    if let Ok(value) = HeaderValue::from_str(&ids.join(", ")) {
        response.headers_mut().insert(RECEIPT, value);
    }
    Ok(response)
}

fn closing() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is closing")
}

/// What of an answer is known.
#[derive(Default)]
struct Answer {
    /// Characters of text so far.
    offset: usize,
    text: String,
    tokens: Vec<Token>,
    /// Whether something of it was streamed.
    begun: bool,
    done: Option<Done>,
}

/// What all parts of an answer say.
struct Shape {
    kind: Kind,
    model: String,
    created: u64,
    id: String,
    prompt_tokens: usize,
    logprobs: bool,
    alternatives: bool,
}

impl Shape {
    fn object(&self, stream: bool, choices: Value, usage: Option<Value>) -> Value {
        let object = match (self.kind, stream) {
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Completion, _) => "text_completion",
        };
        let mut value = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            value["usage"] = usage;
        }
        value
    }

    fn usage(&self, answers: &[Answer]) -> Value {
        let count = |answer: &Answer| answer.done.as_ref().map_or(0, |done| done.completion_tokens);
        let tokens: usize = answers.iter().map(count).sum();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": tokens,
            "total_tokens": self.prompt_tokens + tokens,
        })
    }

    /// `offset`: the characters before the first of these tokens.
    fn log(&self, tokens: &[Token], mut offset: usize, name: &dyn Fn(u32) -> String) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let entry = |token: u32, logprob: f32| {
                    let name = name(token);
                    json!({"token": name, "logprob": logprob, "bytes": name.as_bytes()})
                };
                let content = |token: &Token| {
                    let others = token.alternatives.iter().map(|&(token, logprob)| entry(token, logprob));
                    let others: Vec<Value> = others.collect();
                    let mut own = entry(token.token, token.logprob);
                    own["top_logprobs"] = json!(others);
                    own
                };
                json!({"content": tokens.iter().map(content).collect::<Vec<Value>>()})
            }
            Kind::Completion => {
                let mut offsets = Vec::with_capacity(tokens.len());
                for token in tokens {
                    offsets.push(offset);
                    offset += token.text.chars().count();
                }
                let others = |token: &Token| {
                    let others =
                        token.alternatives.iter().map(|&(token, logprob)| (name(token), json!(logprob)));
                    Value::Object(others.collect::<Map<String, Value>>())
                };
                let others = self.alternatives.then(|| tokens.iter().map(others).collect::<Vec<Value>>());
                json!({
                    "tokens": tokens.iter().map(|token| name(token.token)).collect::<Vec<String>>(),
                    "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<f32>>(),
                    "top_logprobs": others,
                    "text_offset": offsets,
                })
            }
        }
    }
}

/// The answers in one piece.
async fn whole(
    mut early: Vec<(usize, Update)>,
    mut updates: Updates,
    mut answers: Vec<Answer>,
    shape: &Shape,
    name: &(dyn Fn(u32) -> String + Sync),
) -> Result<Response, Refusal> {
    while answers.iter().any(|answer| answer.done.is_none()) {
        let update = match early.pop() {
            Some(update) => Some(update),
            None => updates.recv().await,
        };
        let (choice, update) = update.ok_or_else(closing)?;
        let answer = &mut answers[choice];
        match update {
            Update::Token(token) => {
                answer.text.push_str(&token.text);
                answer.tokens.push(token);
            }
            Update::Done(done) => {
                answer.text.push_str(&done.text);
                answer.done = Some(done);
            }
            Update::Failed(problem) => return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem)),
            Update::Accepted | Update::Refused(_) => return Err(closing()),
        }
    }
    let choice = |(index, answer): (usize, &Answer)| {
        let log = shape.log(&answer.tokens, 0, name);
        let mut choice = json!({"index": index, "logprobs": log});
        match shape.kind {
            Kind::Chat => choice["message"] = json!({"role": "assistant", "content": answer.text}),
            Kind::Completion => choice["text"] = json!(answer.text),
        }
        if let Some(done) = &answer.done {
            choice["finish_reason"] = json!(done.reason);
            choice["receipt"] = receipt(done);
        }
        choice
    };
    let choices: Vec<Value> = answers.iter().enumerate().map(choice).collect();
    let mut object = shape.object(false, json!(choices), Some(shape.usage(&answers)));
    object["receipt"] = choices[0]["receipt"].clone();
    Ok(Json(object).into_response())
}

fn receipt(done: &Done) -> Value {
    json!({"id": done.id, "digest": done.digest})
}

/// Answers as server-sent events.
struct Events {
    /// Updates before those of the channel, the first one last.
    early: Vec<(usize, Update)>,
    updates: Updates,
    shape: Shape,
    usage: bool,
    name: Box<dyn Fn(u32) -> String + Send + Sync>,
    answers: Vec<Answer>,
    over: bool,
}

type Piece = Option<(Result<Bytes, Infallible>, Events)>;

async fn next_event(mut events: Events) -> Piece {
    if events.over {
        return None;
    }
    let update = match events.early.pop() {
        Some(update) => Ok(Some(update)),
        None => tokio::time::timeout(QUIET, events.updates.recv()).await,
    };
    let text = match update {
        Err(_) => ": still here\n\n".to_string(),
        Ok(Some((choice, Update::Token(token)))) => events.token(choice, &token),
        Ok(Some((choice, Update::Done(done)))) => events.done(choice, done),
        Ok(Some((_, Update::Failed(problem)))) => {
            events.failed(&Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem))
        }
        Ok(Some((_, Update::Accepted | Update::Refused(_))) | None) => events.failed(&closing()),
    };
    Some((Ok(Bytes::from(text)), events))
}

impl Events {
    fn chunk(&self, choices: Value, usage: Option<Value>) -> String {
        format!("data: {}\n\n", self.shape.object(true, choices, usage))
    }

    /// A piece of an answer; the first one of a chat's says who speaks.
    fn piece(&mut self, index: usize, text: &str, log: Value) -> String {
        let first = !std::mem::replace(&mut self.answers[index].begun, true);
        let mut choice = json!({"index": index, "logprobs": log, "finish_reason": null});
        match self.shape.kind {
            Kind::Chat => {
                let mut delta = json!({});
                if first {
                    delta["role"] = json!("assistant");
                }
                if first || !text.is_empty() {
                    delta["content"] = json!(text);
                }
                choice["delta"] = delta;
            }
            Kind::Completion => choice["text"] = json!(text),
        }
        self.chunk(json!([choice]), None)
    }

    fn token(&mut self, index: usize, token: &Token) -> String {
        let offset = self.answers[index].offset;
        self.answers[index].offset += token.text.chars().count();
        let log = self.shape.log(std::slice::from_ref(token), offset, &*self.name);
        self.piece(index, &token.text, log)
    }

    fn done(&mut self, index: usize, done: Done) -> String {
        let mut text = String::new();
        if !done.text.is_empty() || !self.answers[index].begun {
            text.push_str(&self.piece(index, &done.text, Value::Null));
        }
        let mut last = json!({"index": index, "logprobs": null, "finish_reason": done.reason});
        match self.shape.kind {
            Kind::Chat => last["delta"] = json!({}),
            Kind::Completion => last["text"] = json!(""),
        }
        last["receipt"] = receipt(&done);
        text.push_str(&self.chunk(json!([last]), None));
        self.answers[index].done = Some(done);
        if self.answers.iter().any(|answer| answer.done.is_none()) {
            return text;
        }
        self.over = true;
        if self.usage {
            text.push_str(&self.chunk(json!([]), Some(self.shape.usage(&self.answers))));
        }
        text + "data: [DONE]\n\n"
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        self.over = true;
        format!("data: {}\n\n", refusal.body())
    }
}
