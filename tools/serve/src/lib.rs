//! `repops serve`: a language model over HTTP, as OpenAI's clients speak it.
//!
//! One thread owns the scheduler (`engine.rs`); handlers give it requests and read what it sends back. Every answer has a
//! signed receipt under its id. Invariant: nothing that a client sends or fails to read disturbs another; connections, bodies,
//! prompts, answers, waiting requests and kept receipts are limited, and clients that stall are cut off.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod answers;
mod api;
mod connections;
mod engine;
mod error;
mod handlers;
mod receipts;

pub use engine::claim;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use repops_provenance::Key;
use repops_runtime::generation::SchedulerOptions;
use repops_runtime::session::Session;
use repops_text::Text;
use tokio::net::TcpListener;

use engine::Engine;
use handlers::App;

/// How the server behaves. None of this changes a bit of an answer.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The model's name in answers.
    pub model: String,
    /// Bytes of a request.
    pub body_bytes_max: usize,
    /// Tokens of an answer, and how many when the request does not say.
    pub tokens_max: usize,
    /// Requests that generate or wait; others are told to come again.
    pub requests_max: usize,
    /// Receipts that are kept, the newest.
    pub receipts_max: usize,
    /// Connections at once; others wait to be let in.
    pub connections_max: usize,
    /// Bytes that making the trace of an answer may take.
    pub trace_bytes_max: usize,
    /// How long a request's head and its body may take to arrive, a connection may be idle, a client may take nothing of
    /// what is written to it, and answers may take to end at a shutdown.
    pub patience: Duration,
    pub scheduler: SchedulerOptions,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            model: "repops".to_string(),
            body_bytes_max: 4 << 20,
            tokens_max: 4096,
            requests_max: 256,
            receipts_max: 4096,
            connections_max: 1024,
            trace_bytes_max: 1 << 30,
            patience: Duration::from_secs(30),
            scheduler: SchedulerOptions::default(),
        }
    }
}

/// Looks at the engine while it ends.
const ENDING_POLLS_MAX: usize = 500;

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{listen}: {source}")]
    Listen { listen: String, source: std::io::Error },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Serves until the process is told to end, then lets answers finish. `ready` is told the address.
pub fn serve(
    session: Arc<Session>,
    text: Text,
    key: Key,
    listen: &str,
    options: ServeOptions,
    ready: impl FnOnce(std::net::SocketAddr),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let bound = TcpListener::bind(listen).await;
        let listener = bound.map_err(|source| ServeError::Listen { listen: listen.to_string(), source })?;
        ready(listener.local_addr()?);
        serve_on(listener, session, text, key, options, told_to_end()).await?;
        Ok(())
    })
}

/// Serves on a listener until `end`, then lets answers finish.
pub async fn serve_on(
    listener: TcpListener,
    session: Arc<Session>,
    text: Text,
    key: Key,
    options: ServeOptions,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let patience = options.patience;
    let (engine, worker) = Engine::start(session, Arc::new(text), key, &options);
    let connections_max = options.connections_max;
    let app = Arc::new(App::new(engine, options));
    let counters = app.engine.counters.clone();
    let (ended, mut has_ended) = tokio::sync::watch::channel(false);
    let graceful = {
        let counters = counters.clone();
        async move {
            end.await;
            counters.closing.store(true, Ordering::SeqCst);
            ended.send_replace(true);
        }
    };
    tokio::select! {
        () = connections::serve(listener, router(app), connections_max, patience, graceful) => {}
        () = async {
            // The sender lives as long as the server.
            let _ = has_ended.wait_for(|ended| *ended).await;
            tokio::time::sleep(patience).await;
        } => {}
    }
    counters.abandon.store(true, Ordering::SeqCst);
    // The engine ends when its last handle is gone; a connection that hangs may keep one, and is not waited for.
    for _ in 0..ENDING_POLLS_MAX {
        if worker.is_finished() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(handlers::page))
        .route("/healthz", get(handlers::health))
        .route("/metrics", get(handlers::metrics))
        .route("/v1/models", get(handlers::models))
        .route("/v1/models/{*id}", get(handlers::model))
        .route("/v1/chat/completions", post(handlers::chat))
        .route("/v1/completions", post(handlers::completions))
        .route("/v1/receipts/{id}", get(handlers::receipt))
        .route("/v1/receipts/{id}/trace", get(handlers::trace))
        .route("/v1/receipts/{id}/verify", post(handlers::verify))
        .fallback(handlers::not_found)
        .method_not_allowed_fallback(handlers::not_allowed)
        .with_state(app)
}

/// An interrupt from the keyboard, or the system's request to end.
async fn told_to_end() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! { () = interrupt => {}, () = terminate => {} }
}
