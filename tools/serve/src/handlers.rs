//! What the paths answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use repops_provenance::generation::{self, GenerationReceipt};
use repops_runtime::session::Vectorized;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::ServeOptions;
use crate::api::{Asked, Chat, Completion, Limits};
use crate::engine::{Done, Engine, Job, Token, Update};
use crate::error::Refusal;

/// The header with the id under which the receipt will be.
pub const RECEIPT: HeaderName = HeaderName::from_static("x-repops-receipt");
/// Silence after which a comment is sent, so that nobody takes the connection for dead.
const QUIET: Duration = Duration::from_secs(10);
/// Verifications at once, each of which computes.
const VERIFICATIONS_MAX: usize = 1;

type Shared = State<Arc<App>>;

/// What the handlers share.
pub struct App {
    pub engine: Engine,
    pub options: ServeOptions,
    /// Makes ids unlike those of other runs.
    salt: u64,
    next: AtomicU64,
    verifications: Arc<Semaphore>,
}

impl App {
    pub fn new(engine: Engine, options: ServeOptions) -> App {
        let salt = getrandom::u64().unwrap_or(0);
        let verifications = Arc::new(Semaphore::new(VERIFICATIONS_MAX));
        App { engine, options, salt, next: AtomicU64::new(0), verifications }
    }

    fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{:016x}{:08x}", self.salt, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn limits(&self) -> Limits<'_> {
        Limits { model: &self.options.model, tokens_max: self.options.tokens_max }
    }
}

/// Which shape answers have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Chat,
    Completion,
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "answers say when they were made; no bit depends on it")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub async fn page() -> Response {
    const POLICY: &str =
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, include_str!("page.html")).into_response()
}

pub async fn health(State(app): Shared) -> Response {
    if app.engine.counters.closing.load(Ordering::SeqCst) {
        return (StatusCode::SERVICE_UNAVAILABLE, "closing\n").into_response();
    }
    "ok\n".into_response()
}

/// Prometheus' text format.
pub async fn metrics(State(app): Shared) -> Response {
    let counters = &app.engine.counters;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: u64| {
        text.push_str(&format!(
            "# HELP repops_{name} {help}\n# TYPE repops_{name} {kind}\nrepops_{name} {value}\n"
        ));
    };
    add("requests_accepted_total", "counter", "Requests that were begun.", read(&counters.accepted));
    add("requests_finished_total", "counter", "Answers with a receipt.", read(&counters.finished));
    add("requests_cancelled_total", "counter", "Requests whose client left.", read(&counters.cancelled));
    add(
        "requests_refused_total",
        "counter",
        "Requests that the model cannot answer.",
        read(&counters.refused),
    );
    add("requests_failed_total", "counter", "Answers that could not be ended.", read(&counters.failed));
    add("prompt_tokens_total", "counter", "Tokens of prompts.", read(&counters.prompt_tokens));
    add("tokens_total", "counter", "Tokens generated.", read(&counters.tokens));
    add("steps_total", "counter", "Steps of the scheduler.", read(&counters.steps));
    add(
        "requests_active",
        "gauge",
        "Requests that generate.",
        counters.active.load(Ordering::Relaxed) as u64,
    );
    add("requests_waiting", "gauge", "Requests that wait.", counters.waiting.load(Ordering::Relaxed) as u64);
    add("cache_bytes", "gauge", "Keys and values.", app.engine.session.cache_bytes() as u64);
    add("cache_limit_bytes", "gauge", "What they may take.", app.engine.session.cache_limit() as u64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn description(app: &App) -> Value {
    json!({
        "id": app.options.model,
        "object": "model",
        "created": 0,
        "owned_by": "repops",
        "program": app.engine.session.program().digest().to_hex(),
        "context_length": app.engine.text.generation().context_length,
    })
}

pub async fn models(State(app): Shared) -> Response {
    Json(json!({"object": "list", "data": [description(&app)]})).into_response()
}

pub async fn model(State(app): Shared, Path(id): Path<String>) -> Response {
    if id == app.options.model {
        return Json(description(&app)).into_response();
    }
    Refusal::new(StatusCode::NOT_FOUND, format!("the model {id:?} does not exist"))
        .code("model_not_found")
        .into_response()
}

pub async fn not_found() -> Response {
    Refusal::new(StatusCode::NOT_FOUND, "there is nothing under this path").into_response()
}

pub async fn not_allowed() -> Response {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this path is not used so").into_response()
}

fn no_receipt(id: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("there is no receipt {id:?}: the answer is not over, or was long ago"),
    )
}

pub async fn receipt(State(app): Shared, Path(id): Path<String>) -> Response {
    match app.engine.receipts.get(&id) {
        Some(receipt) => ([(header::CONTENT_TYPE, "application/json")], receipt.to_string()).into_response(),
        None => no_receipt(&id).into_response(),
    }
}

/// Computes an answer again, all rows at once, and compares. Whoever doubts the server does this elsewhere.
pub async fn verify(State(app): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    let receipt = app.engine.receipts.get(&id).ok_or_else(|| no_receipt(&id))?;
    let busy = |_| Refusal::new(StatusCode::TOO_MANY_REQUESTS, "another receipt is being verified");
    let permit = app.verifications.clone().try_acquire_owned().map_err(busy)?;
    let session = app.engine.session.clone();
    let compared = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let receipt = GenerationReceipt::parse(receipt.as_bytes()).map_err(|error| error.to_string())?;
        let functions = Vectorized::new(session.runtime().isa());
        let hash = repops_kernels::bytes_digest;
        let found = generation::verify(&receipt, session.program(), None, &*session, &functions, hash);
        found.map(|difference| difference.map(|d| d.to_string())).map_err(|error| error.to_string())
    });
    let failed = |problem: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem);
    let difference = compared.await.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    Ok(Json(json!({"verified": difference.is_none(), "difference": difference})).into_response())
}

pub async fn chat(State(app): Shared, body: Body) -> Result<Response, Refusal> {
    let chat: Chat = read(&app, body).await?;
    let asked = check(&app, move |app| chat.check(&app.engine.text, &app.limits())).await?;
    answer(&app, Kind::Chat, asked).await
}

pub async fn completions(State(app): Shared, body: Body) -> Result<Response, Refusal> {
    let completion: Completion = read(&app, body).await?;
    let asked = check(&app, move |app| completion.check(&app.engine.text, &app.limits())).await?;
    answer(&app, Kind::Completion, asked).await
}

/// The request, which must be small, whole in time, and JSON.
async fn read<T: DeserializeOwned>(app: &App, body: Body) -> Result<T, Refusal> {
    if app.engine.counters.closing.load(Ordering::SeqCst) {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is closing"));
    }
    let limit = app.options.body_bytes_max;
    let slow = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time");
    let bytes = tokio::time::timeout(app.options.patience, to_bytes(body, limit)).await.map_err(slow)?;
    let bytes = bytes.map_err(|error| {
        let text = error.to_string();
        if text.contains("limit") {
            let problem = format!("a request has at most {limit} bytes");
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, problem);
        }
        Refusal::new(StatusCode::BAD_REQUEST, format!("the request could not be read: {text}"))
    })?;
    let wrong = |error: serde_json::Error| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("the request is not as it should be: {error}"))
    };
    serde_json::from_slice(&bytes).map_err(wrong)
}

/// Tokenizing a long text takes a while: beside the threads that serve.
async fn check(
    app: &Arc<App>,
    check: impl FnOnce(&App) -> Result<Asked, Refusal> + Send + 'static,
) -> Result<Asked, Refusal> {
    let app = app.clone();
    let checked = tokio::task::spawn_blocking(move || check(&app)).await;
    checked.unwrap_or_else(|_| {
        Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be checked"))
    })
}

async fn answer(app: &Arc<App>, kind: Kind, asked: Asked) -> Result<Response, Refusal> {
    let id = app.id(if kind == Kind::Chat { "chatcmpl" } else { "cmpl" });
    let prompt_tokens = asked.request.prompt.len();
    let job = Job { id: id.clone(), request: asked.request, stops: asked.stops };
    let busy =
        || Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too many requests are waiting: come again later");
    let mut updates = app.engine.submit(job).ok_or_else(busy)?;
    match updates.recv().await {
        Some(Update::Accepted) => {}
        Some(Update::Refused(problem)) => return Err(Refusal::new(StatusCode::BAD_REQUEST, problem)),
        _ => return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is closing")),
    }
    let shape = Shape {
        kind,
        model: app.options.model.clone(),
        created: now(),
        id: id.clone(),
        prompt_tokens,
        logprobs: asked.logprobs,
    };
    let text = app.engine.text.clone();
    let name = move |token: u32| text.token(token).unwrap_or_default();
    let mut response = if asked.stream {
        let events =
            Events { updates, shape, usage: asked.usage, name: Box::new(name), state: Sent::Nothing };
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        (headers, Body::from_stream(stream::unfold(events, next_event))).into_response()
    } else {
        whole(updates, &shape, &name).await?
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(RECEIPT, value);
    }
    Ok(response)
}

/// What all parts of an answer say.
struct Shape {
    kind: Kind,
    model: String,
    created: u64,
    id: String,
    prompt_tokens: usize,
    logprobs: bool,
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

    fn usage(&self, completion_tokens: usize) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
        })
    }

    fn log(&self, tokens: &[Token], name: &dyn Fn(u32) -> String) -> Value {
        if !self.logprobs {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let entry = |token: &Token| {
                    let name = name(token.token);
                    json!({"token": name, "logprob": token.logprob, "bytes": name.as_bytes(), "top_logprobs": []})
                };
                json!({"content": tokens.iter().map(entry).collect::<Vec<Value>>()})
            }
            Kind::Completion => json!({
                "tokens": tokens.iter().map(|token| name(token.token)).collect::<Vec<String>>(),
                "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<f32>>(),
            }),
        }
    }
}

/// The answer in one piece.
async fn whole(
    mut updates: UnboundedReceiver<Update>,
    shape: &Shape,
    name: &(dyn Fn(u32) -> String + Sync),
) -> Result<Response, Refusal> {
    let mut text = String::new();
    let mut tokens = Vec::new();
    let done: Done = loop {
        match updates.recv().await {
            Some(Update::Token(token)) => {
                text.push_str(&token.text);
                tokens.push(token);
            }
            Some(Update::Done(done)) => break done,
            Some(Update::Failed(problem)) => {
                return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem));
            }
            Some(Update::Accepted | Update::Refused(_)) | None => {
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is closing"));
            }
        }
    };
    text.push_str(&done.text);
    let log = shape.log(&tokens, name);
    let choice = match shape.kind {
        Kind::Chat => json!({
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": log,
            "finish_reason": done.reason,
        }),
        Kind::Completion => json!({"index": 0, "text": text, "logprobs": log, "finish_reason": done.reason}),
    };
    let mut object = shape.object(false, json!([choice]), Some(shape.usage(done.completion_tokens)));
    object["receipt"] = json!({"id": shape.id, "digest": done.digest});
    Ok(Json(object).into_response())
}

/// What of a stream has been sent.
#[derive(PartialEq, Eq)]
enum Sent {
    Nothing,
    Text,
    All,
}

/// An answer as server-sent events.
struct Events {
    updates: UnboundedReceiver<Update>,
    shape: Shape,
    usage: bool,
    name: Box<dyn Fn(u32) -> String + Send + Sync>,
    state: Sent,
}

type Piece = Option<(Result<Bytes, Infallible>, Events)>;

async fn next_event(mut events: Events) -> Piece {
    if events.state == Sent::All {
        return None;
    }
    let text = match tokio::time::timeout(QUIET, events.updates.recv()).await {
        Err(_) => ": still here\n\n".to_string(),
        Ok(Some(Update::Token(token))) => events.token(&token),
        Ok(Some(Update::Done(done))) => events.done(&done),
        Ok(Some(Update::Failed(problem))) => {
            events.failed(&Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem))
        }
        Ok(Some(Update::Accepted | Update::Refused(_)) | None) => {
            events.failed(&Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server is closing"))
        }
    };
    Some((Ok(Bytes::from(text)), events))
}

impl Events {
    fn chunk(&self, choices: Value, usage: Option<Value>) -> String {
        format!("data: {}\n\n", self.shape.object(true, choices, usage))
    }

    fn choice(&self, text: &str, log: Value, reason: Option<&str>, first: bool) -> Value {
        match self.shape.kind {
            Kind::Chat => {
                let mut delta = json!({});
                if first {
                    delta["role"] = json!("assistant");
                }
                if first || !text.is_empty() {
                    delta["content"] = json!(text);
                }
                json!({"index": 0, "delta": delta, "logprobs": log, "finish_reason": reason})
            }
            Kind::Completion => json!({"index": 0, "text": text, "logprobs": log, "finish_reason": reason}),
        }
    }

    fn token(&mut self, token: &Token) -> String {
        let first = self.state == Sent::Nothing;
        self.state = Sent::Text;
        let log = self.shape.log(std::slice::from_ref(token), &*self.name);
        self.chunk(json!([self.choice(&token.text, log, None, first)]), None)
    }

    fn done(&mut self, done: &Done) -> String {
        let first = self.state == Sent::Nothing;
        self.state = Sent::All;
        let mut text = String::new();
        if !done.text.is_empty() || first {
            text.push_str(&self.chunk(json!([self.choice(&done.text, Value::Null, None, first)]), None));
        }
        text.push_str(&self.chunk(json!([self.choice("", Value::Null, Some(done.reason), false)]), None));
        if self.usage {
            text.push_str(&self.chunk(json!([]), Some(self.shape.usage(done.completion_tokens))));
        }
        text + "data: [DONE]\n\n"
    }

    fn failed(&mut self, refusal: &Refusal) -> String {
        self.state = Sent::All;
        format!("data: {}\n\n", refusal.body())
    }
}
