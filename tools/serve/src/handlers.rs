//! What the paths answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use repops_provenance::generation::{self, GenerationReceipt};
use repops_provenance::row_log;
use repops_runtime::session::Vectorized;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ServeOptions;
use crate::answers::{Kind, answer};
use crate::api::{Asked, Chat, Completion, Limits};
use crate::engine::Engine;
use crate::error::Refusal;

/// Verifications and traces at once, each of which computes.
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

    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{:016x}{:08x}", self.salt, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn limits(&self) -> Limits<'_> {
        Limits { model: &self.options.model, tokens_max: self.options.tokens_max }
    }
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
        Some(kept) => ([(header::CONTENT_TYPE, "application/json")], kept.receipt.clone()).into_response(),
        None => no_receipt(&id).into_response(),
    }
}

/// Computes an answer again, all rows at once, and compares. Whoever doubts the server does this elsewhere.
pub async fn verify(State(app): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    let kept = app.engine.receipts.get(&id).ok_or_else(|| no_receipt(&id))?;
    let permit = permit(&app)?;
    let session = app.engine.session.clone();
    let compared = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let receipt = GenerationReceipt::parse(kept.receipt.as_bytes()).map_err(|error| error.to_string())?;
        let functions = Vectorized::new(session.runtime().isa());
        let hash = repops_kernels::bytes_digest;
        let found = generation::verify(&receipt, session.program(), None, &*session, &functions, hash);
        found.map(|difference| difference.map(|d| d.to_string())).map_err(|error| error.to_string())
    });
    let failed = |problem: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem);
    let difference = compared.await.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    Ok(Json(json!({"verified": difference.is_none(), "difference": difference})).into_response())
}

/// One of those who may compute besides the answers.
fn permit(app: &App) -> Result<OwnedSemaphorePermit, Refusal> {
    let busy = |_| Refusal::new(StatusCode::TOO_MANY_REQUESTS, "another receipt is being verified");
    app.verifications.clone().try_acquire_owned().map_err(busy)
}

/// The log of an answer as a file, with which single positions are checked. Nothing of it was kept: it follows from the
/// receipt, by computing all rows at once.
pub async fn trace(State(app): Shared, Path(id): Path<String>) -> Result<Response, Refusal> {
    let kept = app.engine.receipts.get(&id).ok_or_else(|| no_receipt(&id))?;
    let failed = |problem: String| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, problem);
    let receipt = GenerationReceipt::parse(kept.receipt.as_bytes()).map_err(|e| failed(e.to_string()))?;
    let session = app.engine.session.clone();
    if receipt.claim.trace_root.is_none() {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "the server hashes no steps, so there is no trace"));
    }
    let needed = row_log::bytes_needed(session.program(), receipt.claim.rows().len());
    if needed.is_none_or(|needed| needed > app.options.trace_bytes_max) {
        let problem = format!("its trace takes more than the {} bytes allowed", app.options.trace_bytes_max);
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, problem));
    }
    let permit = permit(&app)?;
    let written = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let (mut file, runtime) = (Vec::new(), session.runtime().as_ref());
        row_log::write(session.program(), &receipt.claim, &kept.logprobs, runtime, &mut file).map(|()| file)
    });
    let file = written.await.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], file).into_response())
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
