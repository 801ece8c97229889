//! `repops generate` and `repops score`: text from a sequence program, and how likely a text is.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use repops::Program;
use repops::exec::HashLevel;
use repops::sequence::reference::RowsExecutor;
use repops::sequence::sampling::{Sampling, log_probability, standing};
use repops_io::atomic::Staged;
use repops_provenance::generation::{GenerationClaim, GenerationReceipt};
use repops_provenance::{Info, Key, row_log};
use repops_runtime::generation::{Event, Finish, Finished, Request, Scheduler, SchedulerOptions};
use repops_runtime::session::{Session, SessionOptions, Vectorized};
use repops_text::{Conversation, Message, Stopped, Stops, Text, TextError};
use serde_json::json;

use crate::arguments::{Generate, Prompt, Sample, Score};
use crate::engine::{self, Engine};
use crate::interrupt::{self, watch_for_interrupts};
use crate::report::{note, print, print_json, table};
use crate::run::{milliseconds, utc_now};
use crate::{Answer, Failure, Result, keys};

/// The largest file of messages that is read.
const MESSAGES_BYTES_MAX: u64 = 16 << 20;

pub fn generate(arguments: &Generate) -> Result<Answer> {
    if arguments.receipt.is_some() && arguments.hash == crate::arguments::Level::None {
        return Err(Failure::new("--receipt needs --hash outputs or operators"));
    }
    if arguments.trace.is_some() && arguments.hash != crate::arguments::Level::Operators {
        return Err(Failure::new("--trace needs --hash operators"));
    }
    watch_for_interrupts();
    let program = Arc::new(engine::load(&arguments.program)?);
    let text = text_of(&program)?;
    let request = request(arguments, text.as_ref())?;
    let session = session(&program, &arguments.engine, arguments.hash.into(), arguments.cache_bytes())?;
    if arguments.receipt.is_some() {
        session.runtime().check_constants(&program)?;
    }
    let key = match (&arguments.receipt, &arguments.key) {
        (None, _) => None,
        (Some(_), Some(path)) => Some(Key::load(path)?),
        (Some(_), None) => Some(keys::user_key()?),
    };
    let options = SchedulerOptions { prefill_rows: arguments.prefill_chunk, ..SchedulerOptions::default() };
    let mut scheduler = Scheduler::new(session, options);
    let answer = answer(&mut scheduler, request, text.as_ref(), &arguments.stop, !arguments.json)?;
    report(arguments, &program, &scheduler, key.as_ref(), &answer)
}

/// What is claimed of the generation that arguments of a dispute ask for; `None` where they ask for none.
pub fn claim_for(
    arguments: &crate::arguments::Generation,
    program: &Arc<Program>,
    engine: &crate::arguments::Engine,
    seed: u64,
) -> Result<Option<GenerationClaim>> {
    if let Some(path) = &arguments.generation {
        let text = std::fs::read(path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
        return Ok(Some(GenerationReceipt::parse(&text)?.claim));
    }
    let prompt = Prompt {
        prompt: arguments.prompt.clone(),
        chat: arguments.chat.clone(),
        messages: None,
        tokens: arguments.tokens.clone(),
    };
    if prompt.prompt.is_none() && prompt.chat.is_none() && prompt.tokens.is_empty() {
        return Ok(None);
    }
    let text = text_of(program)?;
    let prompt = prompt_tokens(&prompt, text.as_ref())?;
    let sampling = Sampling {
        temperature: arguments.temperature,
        top_k: arguments.top_k,
        top_p: arguments.top_p,
        min_p: arguments.min_p,
        ..Sampling::default()
    };
    sampling.check()?;
    let stop = text.as_ref().map(|text| text.generation().eos_token_ids.clone()).unwrap_or_default();
    let request =
        Request { prompt, max_tokens: arguments.max_tokens, sampling, seed, nonce: 0, stop, alternatives: 0 };
    let session = session(program, engine, HashLevel::Operators, SessionOptions::default().cache_bytes)?;
    let mut scheduler = Scheduler::new(session, SchedulerOptions::default());
    let generated = answer(&mut scheduler, request, text.as_ref(), &[], false)?;
    Ok(Some(repops_serve::claim(program, &generated.finished)))
}

/// The program's tokenizer, if it has one.
fn text_of(program: &Program) -> Result<Option<Text>> {
    match Text::of(program) {
        Ok(text) => Ok(Some(text)),
        Err(TextError::NoTokenizer) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A finished answer and how long it took.
struct Generated {
    finished: Finished,
    text: String,
    /// Ended by a stop string.
    stopped: bool,
    /// Until the first token; from then on.
    prefill: Duration,
    decode: Duration,
}

/// A session for a program, as the arguments want it.
pub fn session(
    program: &Arc<Program>,
    arguments: &crate::arguments::Engine,
    level: HashLevel,
    cache_bytes: usize,
) -> Result<Arc<Session>> {
    let options = SessionOptions { level, cache_bytes, ..SessionOptions::default() };
    Ok(Arc::new(Engine::session(arguments, program, options)?))
}

fn request(arguments: &Generate, text: Option<&Text>) -> Result<Request> {
    let prompt = prompt_tokens(&arguments.prompt, text)?;
    if prompt.is_empty() {
        return Err(Failure::new("the prompt has no tokens"));
    }
    let mut stop = text.map(|text| text.generation().eos_token_ids.clone()).unwrap_or_default();
    if arguments.ignore_eos {
        stop.clear();
    }
    let context = text.map_or(0, |text| text.generation().context_length);
    let context = usize::try_from(context).ok().filter(|c| *c > 0).unwrap_or(usize::MAX);
    if prompt.len() >= context {
        return Err(Failure(format!(
            "the prompt has {} tokens; the model takes fewer than {context}",
            prompt.len()
        )));
    }
    Ok(Request {
        max_tokens: arguments.max_tokens.min(context - prompt.len()),
        prompt,
        sampling: sampling(&arguments.sample)?,
        seed: arguments.sample.seed,
        nonce: arguments.nonce,
        stop,
        alternatives: 0,
    })
}

/// The parameters that the arguments state.
pub fn sampling(sample: &Sample) -> Result<Sampling> {
    let sampling = Sampling {
        temperature: sample.temperature,
        top_k: sample.top_k,
        top_p: sample.top_p,
        min_p: sample.min_p,
        repetition_penalty: sample.repetition_penalty,
        presence_penalty: sample.presence_penalty,
        frequency_penalty: sample.frequency_penalty,
    };
    sampling.check()?;
    Ok(sampling)
}

/// The tokens of a prompt, whichever way it is given.
fn prompt_tokens(prompt: &Prompt, text: Option<&Text>) -> Result<Vec<u32>> {
    if !prompt.tokens.is_empty() {
        return Ok(prompt.tokens.clone());
    }
    let text = text.ok_or_else(|| Failure::new("the program has no tokenizer: give --tokens"))?;
    let user = |content: &str| Message { role: "user".to_string(), content: content.to_string() };
    if let Some(plain) = &prompt.prompt {
        return Ok(text.encode(plain, true)?);
    }
    if let Some(question) = &prompt.chat {
        return Ok(text.chat_tokens(&[user(question)])?);
    }
    let path = prompt.messages.as_ref().ok_or_else(|| Failure::new("give --prompt, --chat or --messages"))?;
    let failed = |problem: String| Failure(format!("{}: {problem}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > MESSAGES_BYTES_MAX {
        return Err(failed(format!("has {size} bytes; at most {MESSAGES_BYTES_MAX} are read")));
    }
    let file = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let conversation = Conversation::parse(&file).map_err(|e| failed(e.to_string()))?;
    Ok(text.conversation_tokens(&conversation)?)
}

#[expect(clippy::disallowed_methods, reason = "for people; outside of what is signed")]
fn answer(
    scheduler: &mut Scheduler,
    request: Request,
    text: Option<&Text>,
    stop: &[String],
    show: bool,
) -> Result<Generated> {
    let id = scheduler.submit(request)?;
    let mut stream = text.map(Text::stream);
    let mut stops = Stops::new(stop.to_vec());
    let mut shown = String::new();
    let start = Instant::now();
    let mut first = None;
    let mut stopped = false;
    let mut events = VecDeque::new();
    let finished = loop {
        if interrupt::interrupted() {
            return Err(Failure::new("interrupted"));
        }
        if events.is_empty() {
            events.extend(scheduler.step());
        }
        let emit = |piece: &str, shown: &mut String| {
            shown.push_str(piece);
            if show && !piece.is_empty() {
                let mut out = std::io::stdout();
                // A reader that has seen enough is no error.
                let _ = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
            }
        };
        match events.pop_front() {
            Some(Event::Token { token, .. }) => {
                first.get_or_insert_with(|| start.elapsed());
                let ends = text.is_some_and(|text| text.is_end(token));
                let Some(stream) = stream.as_mut().filter(|_| !ends) else { continue };
                match stops.push(&stream.push(token)?) {
                    Stopped::No(piece) => emit(&piece, &mut shown),
                    Stopped::Yes(piece, _) => {
                        emit(&piece, &mut shown);
                        stopped = true;
                    }
                }
                if stopped && let Some(finished) = scheduler.finish(id) {
                    break finished;
                }
            }
            Some(Event::Finished { finished, .. }) => {
                let rest = stream.as_mut().map(|s| s.finish()).transpose()?.unwrap_or_default();
                if !stopped {
                    match stops.push(&rest) {
                        Stopped::No(piece) => emit(&(piece + &stops.finish()), &mut shown),
                        Stopped::Yes(piece, _) => emit(&piece, &mut shown),
                    }
                }
                break *finished;
            }
            Some(Event::Failed { error, .. }) => return Err(error.into()),
            None => {}
        }
    };
    let prefill = first.unwrap_or_default();
    let decode = start.elapsed().saturating_sub(prefill);
    Ok(Generated { finished, text: shown, stopped, prefill, decode })
}

#[expect(clippy::float_arithmetic, reason = "for people; outside of what is signed")]
fn report(
    arguments: &Generate,
    program: &Program,
    scheduler: &Scheduler,
    key: Option<&Key>,
    generated: &Generated,
) -> Result<Answer> {
    let finished = &generated.finished;
    let claim = repops_serve::claim(program, finished);
    let digest = claim.digest();
    if let (Some(path), Some(key)) = (&arguments.receipt, key) {
        let runtime = scheduler.session().runtime();
        let info = Info {
            device: Some(format!("{} {}", std::env::consts::ARCH, runtime.isa().name())),
            host: None,
            time: Some(utc_now()),
            version: Some(format!("repops {}", env!("CARGO_PKG_VERSION"))),
        };
        let receipt = claim.sign(key, info);
        let mut staged = Staged::new();
        staged.write(path, |out| out.write_all(receipt.to_json().as_bytes()))?;
        staged.commit()?;
    }
    if let Some(path) = &arguments.trace {
        let (claim, runtime) = (repops_serve::claim(program, finished), scheduler.session().runtime());
        let mut staged = Staged::new();
        let mut written = Ok(());
        staged.write(path, |out| {
            written = row_log::write(program, &claim, &finished.logprobs, runtime.as_ref(), out);
            Ok(())
        })?;
        written?;
        staged.commit()?;
    }
    // At least a microsecond, so that the quotient is a number.
    let per_second =
        |count: usize, time: Duration| count as f64 * 1e6 / time.as_micros().clamp(1, 1 << 60) as f64;
    let (prompt, tokens) = (finished.request.prompt.len(), finished.tokens.len());
    let prefill = per_second(prompt, generated.prefill);
    let decode = per_second(tokens.saturating_sub(1), generated.decode);
    let reason = match (generated.stopped, finished.finish) {
        (true, _) | (_, Finish::Stop) => "stop",
        (false, Finish::Length) => "length",
    };
    if arguments.json {
        print_json(&json!({
            "text": generated.text,
            "prompt_tokens": finished.request.prompt,
            "tokens": finished.tokens,
            "logprobs": finished.logprobs,
            "finish_reason": reason,
            "program": program.digest().to_hex(),
            "receipt_digest": digest.to_hex(),
            "trace_root": finished.root.map(|root| root.to_hex()),
            "prefill_ms": milliseconds(generated.prefill),
            "prefill_tokens_per_s": prefill,
            "decode_tokens_per_s": decode,
            "cache_bytes": scheduler.session().cache_bytes(),
        }));
        return Ok(Answer::Yes);
    }
    print("");
    note(&format!("{prompt} tokens read, {prefill:.1}/s; {tokens} written, {decode:.1}/s; {reason}"));
    if let Some(root) = finished.root {
        note(&format!("trace root {root}"));
    }
    Ok(Answer::Yes)
}

/// `repops score`: whether a model could have written a text, token by token.
pub fn score(arguments: &Score) -> Result<Answer> {
    watch_for_interrupts();
    let program = Arc::new(engine::load(&arguments.program)?);
    let text = text_of(&program)?;
    let prompt = prompt_tokens(&arguments.prompt, text.as_ref())?;
    let completion = match (&arguments.completion, &text) {
        (Some(completion), Some(text)) => text.encode(completion, false)?,
        (None, _) => arguments.completion_tokens.clone(),
        (Some(_), None) => {
            return Err(Failure::new("the program has no tokenizer: give --completion-tokens"));
        }
    };
    if prompt.is_empty() || completion.is_empty() {
        return Err(Failure::new("prompt and completion need at least one token each"));
    }
    let sampling = sampling(&arguments.sample)?;
    let session =
        session(&program, &arguments.engine, HashLevel::None, SessionOptions::default().cache_bytes)?;
    let functions = Vectorized::new(session.runtime().isa());
    let all = [prompt.as_slice(), completion.as_slice()].concat();
    let mut scores = Vec::new();
    session
        .rows(&program, &all[..all.len() - 1], prompt.len() - 1, false, &mut |position, logits| {
            let token = all[position + 1];
            let known = &all[..=position];
            let (possible, rank) = standing(logits, &sampling, known, prompt.len(), token, &functions)?;
            scores.push((token, log_probability(logits, token, &functions), possible, rank));
            Ok(())
        })
        .map_err(|error| Failure(error.to_string()))?;
    let possible = scores.iter().all(|(_, _, possible, _)| *possible);
    let total = total(scores.iter().map(|(_, logprob, _, _)| *logprob));
    if arguments.json {
        let tokens: Vec<_> = scores
            .iter()
            .map(|(token, logprob, possible, rank)| {
                json!({ "token": token, "logprob": logprob, "bits": format!("{:08x}", logprob.to_bits()),
                        "possible": possible, "rank": rank })
            })
            .collect();
        print_json(&json!({ "possible": possible, "logprob": total, "tokens": tokens }));
    } else {
        let mut rows = vec![["token", "log-probability", "rank", "possible"].map(str::to_string).to_vec()];
        for (token, logprob, possible, rank) in &scores {
            let possible = if *possible { "yes" } else { "no" };
            rows.push(vec![token.to_string(), logprob.to_string(), rank.to_string(), possible.to_string()]);
        }
        print(&table(&rows));
        print(&format!("sum of log-probabilities {total}"));
    }
    Ok(if possible { Answer::Yes } else { Answer::No })
}

#[expect(clippy::float_arithmetic, reason = "for people; outside of what is signed")]
fn total(logprobs: impl Iterator<Item = f32>) -> f64 {
    logprobs.fold(0.0, |sum, v| sum + f64::from(v))
}
