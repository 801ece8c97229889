//! A request has one receipt digest: whoever computes it, in whatever company, pieces and order, and by whatever instructions.
//!
//! The same on aarch64 is `cargo xtask matrix`, which generates by the command line under emulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::Digest;
use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops::sequence::example::Decoder;
use repops::sequence::sampling::{Plain, Sampling};
use repops_kernels::isa::Isa;
use repops_provenance::generation::{GenerationReceipt, verify};
use repops_provenance::{Info, Key};
use repops_runtime::generation::{Event, Finished, Request, RequestId, Scheduler, SchedulerOptions};
use repops_runtime::session::{Session, SessionOptions, Vectorized};
use repops_runtime::{Runtime, RuntimeOptions};
use repops_serve::claim;

/// Longer than the largest piece.
const PROMPT: u32 = 70;

fn request() -> Request {
    Request {
        prompt: (0..PROMPT).map(|i| (i * i + 3 * i + 1) % 50).collect(),
        max_tokens: 12,
        sampling: Sampling { temperature: 0.9, top_k: 30, repetition_penalty: 1.1, ..Sampling::default() },
        seed: 7,
        nonce: 3,
        stop: vec![],
        alternatives: 0,
    }
}

/// Somebody else's; some begin as ours does.
fn stranger(number: u32) -> Request {
    let mut prompt: Vec<u32> = (0..5 + 9 * (number % 7)).map(|i| (i * number + i + number) % 50).collect();
    if number.is_multiple_of(3) {
        prompt.splice(..0, request().prompt[..20 + number as usize].iter().copied());
    }
    Request { prompt, max_tokens: 3 + number as usize % 9, seed: u64::from(number), ..request() }
}

fn session(threads: usize, isa: Option<Isa>) -> Arc<Session> {
    let program = Decoder { layers: 2, window: 0, ..Decoder::default() }.program();
    let runtime = Runtime::new(RuntimeOptions { threads, isa, ..RuntimeOptions::default() }).unwrap();
    Arc::new(Session::new(Arc::new(runtime), Arc::new(program), SessionOptions::default()).unwrap())
}

/// Steps until `of` is over.
fn finish(scheduler: &mut Scheduler, of: RequestId) -> Finished {
    let mut done = BTreeMap::new();
    while !done.contains_key(&of) {
        for event in scheduler.step() {
            match event {
                Event::Finished { id, finished } => {
                    done.insert(id, *finished);
                }
                Event::Failed { error, .. } => panic!("{error}"),
                Event::Token { .. } => {}
            }
        }
    }
    done.remove(&of).unwrap()
}

fn digest(session: &Session, finished: &Finished) -> Digest {
    assert_eq!(finished.tokens.len(), 12);
    assert!(finished.root.is_some());
    claim(session.program(), finished).digest()
}

fn by(session: &Arc<Session>, options: SchedulerOptions) -> Digest {
    let mut scheduler = Scheduler::new(session.clone(), options);
    let id = scheduler.submit(request()).unwrap();
    let finished = finish(&mut scheduler, id);
    digest(session, &finished)
}

/// Of a request that is alone, on one thread, by plain instructions, its prompt in one piece.
fn alone() -> Digest {
    let options = SchedulerOptions { prefill_rows: 512, requests: 1, kept: 0 };
    by(&session(1, Some(Isa::Portable)), options)
}

#[test]
fn in_batches_of_2_to_16_with_strangers_that_come_and_go() {
    let (expected, session) = (alone(), session(2, None));
    for size in 2..=16u32 {
        let options = SchedulerOptions { requests: size as usize, ..SchedulerOptions::default() };
        let mut scheduler = Scheduler::new(session.clone(), options);
        // Some are there before, one of whom leaves; others come while it generates, more than fit at once.
        let before: Vec<RequestId> =
            (0..size / 2).map(|number| scheduler.submit(stranger(number)).unwrap()).collect();
        scheduler.step();
        let id = scheduler.submit(request()).unwrap();
        let mut found = None;
        for number in size / 2..4 * size {
            if number < 2 * size {
                scheduler.submit(stranger(number)).unwrap();
            }
            if number == size {
                scheduler.cancel(before[0]);
            }
            for event in scheduler.step() {
                match event {
                    Event::Finished { id: of, finished } if of == id => found = Some(*finished),
                    Event::Failed { error, .. } => panic!("{error}"),
                    _ => {}
                }
            }
        }
        let found = found.unwrap_or_else(|| finish(&mut scheduler, id));
        assert_eq!(digest(&session, &found), expected, "{size}");
    }
}

#[test]
fn with_the_prompt_in_pieces_of_1_7_and_64() {
    let (expected, session) = (alone(), session(2, None));
    for prefill_rows in [1, 7, 64] {
        let options = SchedulerOptions { prefill_rows, kept: 0, ..SchedulerOptions::default() };
        assert_eq!(by(&session, options), expected, "{prefill_rows}");
    }
}

#[test]
fn with_and_without_a_prefix_cache() {
    let (expected, session) = (alone(), session(2, None));
    for kept in [0, 1, 16] {
        let mut scheduler =
            Scheduler::new(session.clone(), SchedulerOptions { kept, ..SchedulerOptions::default() });
        // Others that begin alike, then the request twice.
        for prompt in [request().prompt[..40].to_vec(), [&request().prompt[..69], &[0, 1]].concat()] {
            let id = scheduler.submit(Request { prompt, ..request() }).unwrap();
            finish(&mut scheduler, id);
        }
        for _ in 0..2 {
            let id = scheduler.submit(request()).unwrap();
            let found = finish(&mut scheduler, id);
            assert_eq!(digest(&session, &found), expected, "{kept}");
        }
    }
}

#[test]
fn on_1_2_and_7_threads() {
    let expected = alone();
    for threads in [1, 2, 7] {
        assert_eq!(by(&session(threads, None), SchedulerOptions::default()), expected, "{threads}");
    }
}

#[test]
fn by_every_instruction_set() {
    let expected = alone();
    for isa in Isa::available() {
        assert_eq!(by(&session(2, Some(isa)), SchedulerOptions::default()), expected, "{isa:?}");
    }
}

#[test]
fn after_it_was_verified_by_all_rows_at_once() {
    let (expected, session) = (alone(), session(2, None));
    let mut scheduler = Scheduler::new(session.clone(), SchedulerOptions::default());
    for _ in 0..2 {
        let id = scheduler.submit(request()).unwrap();
        let finished = finish(&mut scheduler, id);
        assert_eq!(digest(&session, &finished), expected);
        let receipt: GenerationReceipt =
            claim(session.program(), &finished).sign(&Key::from_seed([5; 32]), Info::default());
        let functions = Vectorized::new(session.runtime().isa());
        let by_session = verify(&receipt, session.program(), None, &*session, &functions, bytes_digest);
        let plainly = verify(&receipt, session.program(), None, &Reference, &Plain, bytes_digest);
        assert_eq!((by_session.unwrap(), plainly.unwrap()), (None, None));
    }
}
