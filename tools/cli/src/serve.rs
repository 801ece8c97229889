//! `repops serve`: a language model over HTTP.

use std::sync::Arc;

use repops_provenance::Key;
use repops_runtime::session::SessionOptions;
use repops_serve::ServeOptions;
use repops_text::Text;

use crate::arguments::Serve;
use crate::engine::{self, Engine};
use crate::report::note;
use crate::{Answer, Result, keys};

pub fn serve(arguments: &Serve) -> Result<Answer> {
    let program = Arc::new(engine::load(&arguments.program)?);
    let text = Text::of(&program)?;
    let key = match &arguments.key {
        Some(path) => Key::load(path)?,
        None => keys::user_key()?,
    };
    let options = SessionOptions {
        level: arguments.hash.into(),
        cache_bytes: usize::try_from(arguments.cache_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20),
        ..SessionOptions::default()
    };
    let session = Arc::new(Engine::session(&arguments.engine, &program, options)?);
    // Receipts will say that these constants computed.
    session.runtime().check_constants(&program)?;
    let stem = arguments.program.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let options = ServeOptions {
        model: arguments.model.clone().or(stem).unwrap_or_else(|| "model".to_string()),
        tokens_max: arguments.max_tokens,
        requests_max: arguments.max_requests,
        ..ServeOptions::default()
    };
    let model = options.model.clone();
    let ready = |address: std::net::SocketAddr| note(&format!("{model} is served at http://{address}/"));
    repops_serve::serve(session, text, key, &arguments.listen, options, ready)?;
    Ok(Answer::Yes)
}
