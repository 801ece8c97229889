//! The scheduler: each request gets what it would get alone, whoever else is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::exec::HashLevel;
use repops::reference::Reference;
use repops::sequence::example::Decoder;
use repops::sequence::reference::RowsExecutor;
use repops::sequence::sampling::{Draw, Plain, Sampling, choose, log_probability};
use repops_runtime::generation::{
    Event, Finish, Finished, GenerationError, Request, RequestId, Scheduler, SchedulerOptions,
};
use repops_runtime::session::{Session, SessionOptions};
use repops_runtime::{Runtime, RuntimeOptions};

fn session(decoder: &Decoder, options: SessionOptions) -> Arc<Session> {
    let runtime =
        Runtime::new(RuntimeOptions { threads: 2, ..RuntimeOptions::default() }).expect("a runtime");
    Arc::new(Session::new(Arc::new(runtime), Arc::new(decoder.program()), options).expect("a session"))
}

fn request(seed: u32, prompt: usize, max_tokens: usize) -> Request {
    Request {
        prompt: (0..prompt as u32).map(|i| if i < 4 { i } else { (i * i + 11 * seed + i) % 50 }).collect(),
        max_tokens,
        sampling: Sampling { temperature: 0.9, top_k: 30, repetition_penalty: 1.1, ..Sampling::default() },
        seed: u64::from(seed),
        nonce: 0,
        stop: vec![13],
        alternatives: 0,
    }
}

/// One step; files what is finished.
fn step(scheduler: &mut Scheduler, done: &mut BTreeMap<RequestId, Finished>) {
    for event in scheduler.step() {
        match event {
            Event::Finished { id, finished } => {
                done.insert(id, *finished);
            }
            Event::Token { .. } => {}
            Event::Failed { id, error } => panic!("{id:?}: {error}"),
        }
    }
}

fn run(scheduler: &mut Scheduler) -> BTreeMap<RequestId, Finished> {
    let mut done = BTreeMap::new();
    while !scheduler.is_idle() {
        step(scheduler, &mut done);
    }
    done
}

/// Token by token by the plain way.
fn alone(decoder: &Decoder, request: &Request) -> (Vec<u32>, Vec<u32>, Option<repops::Digest>) {
    let program = decoder.program();
    let prompt = request.prompt.len();
    let mut all = request.prompt.clone();
    let mut logprobs = Vec::new();
    loop {
        let last = all.len() - 1;
        let mut next = (0, 0.0);
        let root = Reference
            .rows(&program, &all, prompt - 1, true, &mut |position, logits| {
                if position == last {
                    let draw = Draw { seed: request.seed, nonce: request.nonce, position: position as u32 };
                    let token = choose(logits, &request.sampling, &all, prompt, draw, &Plain)?;
                    next = (token, log_probability(logits, token, &Plain));
                }
                Ok(())
            })
            .expect("rows");
        all.push(next.0);
        logprobs.push(next.1.to_bits());
        if request.stop.contains(&next.0) || all.len() == prompt + request.max_tokens {
            return (all[prompt..].to_vec(), logprobs, root);
        }
    }
}

#[test]
fn company_changes_nothing() {
    let decoder = Decoder { layers: 2, ..Decoder::default() };
    for options in [
        SchedulerOptions::default(),
        SchedulerOptions { prefill_rows: 3, requests: 2, kept: 0 },
        SchedulerOptions { prefill_rows: 7, requests: 16, kept: 2 },
    ] {
        let mut scheduler = Scheduler::new(session(&decoder, SessionOptions::default()), options);
        let (mut ids, mut done) = (BTreeMap::new(), BTreeMap::new());
        for seed in 0..6 {
            let request = request(seed, 5 + 4 * seed as usize, 6);
            ids.insert(scheduler.submit(request.clone()).expect("a request"), request);
            // They come while others are at work.
            step(&mut scheduler, &mut done);
        }
        done.append(&mut run(&mut scheduler));
        for (id, request) in &ids {
            let (tokens, logprobs, root) = alone(&decoder, request);
            let found = &done[id];
            assert_eq!(found.tokens, tokens, "{options:?} {id:?}");
            assert_eq!(found.logprobs.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), logprobs);
            assert_eq!(found.root, root, "{options:?} {id:?}");
            let stopped = tokens.last() == Some(&13);
            assert_eq!(found.finish, if stopped { Finish::Stop } else { Finish::Length });
        }
        // Again, with what was left.
        let again = scheduler.submit(ids.values().next_back().expect("six").clone()).expect("a request");
        let last = done.values().next_back().expect("six");
        let found = &run(&mut scheduler)[&again];
        assert_eq!((&found.tokens, found.root), (&last.tokens, last.root));
    }
}

#[test]
fn those_who_leave_hurt_nobody() {
    let decoder = Decoder { layers: 1, ..Decoder::default() };
    let mut scheduler =
        Scheduler::new(session(&decoder, SessionOptions::default()), SchedulerOptions::default());
    let stays = request(1, 9, 8);
    let (a, b) =
        (scheduler.submit(stays.clone()).expect("a"), scheduler.submit(request(2, 30, 50)).expect("b"));
    let c = scheduler.submit(request(3, 12, 50)).expect("c");
    scheduler.cancel(c);
    for _ in 0..3 {
        scheduler.step();
    }
    scheduler.cancel(b);
    let done = run(&mut scheduler);
    assert_eq!(done.keys().collect::<Vec<_>>(), [&a]);
    assert_eq!(done[&a].tokens, alone(&decoder, &stays).0);
}

#[test]
fn room_is_kept_within_the_limit() {
    let decoder = Decoder { layers: 1, ..Decoder::default() };
    // A page of 256 positions takes 32 KiB: room for three requests at once.
    let options =
        SessionOptions { level: HashLevel::None, cache_bytes: 100 << 10, ..SessionOptions::default() };
    let session = session(&decoder, options);
    let mut scheduler = Scheduler::new(session.clone(), SchedulerOptions::default());
    let ids: Vec<RequestId> =
        (0..7).map(|seed| scheduler.submit(request(seed, 20, 5)).expect("a request")).collect();
    scheduler.step();
    assert_eq!(scheduler.load(), (3, 4));
    let done = run(&mut scheduler);
    assert_eq!(done.len(), ids.len());
    assert!(done.values().all(|f| f.root.is_none()));
    assert!(session.cache_bytes() <= 100 << 10);
    let long = scheduler.submit(request(1, 600, 500));
    assert!(matches!(long, Err(GenerationError::TooLong { .. })));
    assert!(matches!(
        scheduler.submit(Request { prompt: vec![], ..request(1, 1, 1) }),
        Err(GenerationError::EmptyPrompt)
    ));
    assert!(matches!(scheduler.submit(request(1, 1, 0)), Err(GenerationError::NoTokens)));
    assert!(matches!(
        scheduler.submit(Request { prompt: vec![50], ..request(1, 1, 1) }),
        Err(GenerationError::Session(_))
    ));
    let hot = Sampling { temperature: f32::NAN, ..Sampling::default() };
    let hot = Request { sampling: hot, ..request(1, 1, 1) };
    assert!(matches!(scheduler.submit(hot), Err(GenerationError::Sampling(_))));
}

#[test]
fn one_that_fails_fails_alone() {
    // The rotary tables end at 20 positions.
    let decoder = Decoder { layers: 1, context: 20, ..Decoder::default() };
    let mut scheduler =
        Scheduler::new(session(&decoder, SessionOptions::default()), SchedulerOptions::default());
    let fine = request(1, 9, 4);
    let a = scheduler.submit(fine.clone()).expect("a");
    let b = scheduler.submit(Request { stop: vec![], ..request(2, 15, 50) }).expect("b");
    let mut failed = Vec::new();
    let mut tokens = Vec::new();
    while !scheduler.is_idle() {
        for event in scheduler.step() {
            match event {
                Event::Failed { id, .. } => failed.push(id),
                Event::Finished { id, finished } => {
                    assert_eq!(id, a);
                    tokens = finished.tokens;
                }
                Event::Token { .. } => {}
            }
        }
    }
    assert_eq!(failed, [b]);
    assert_eq!(tokens, alone(&decoder, &fine).0);
}

#[test]
fn a_session_verifies_by_rows() {
    let decoder = Decoder::default();
    let tokens: Vec<u32> = (0..150).map(|i| i * 3 % 50).collect();
    let collect = |executor: &dyn RowsExecutor| {
        let mut rows = Vec::new();
        let root = executor.rows(&decoder.program(), &tokens, 30, true, &mut |position, logits| {
            rows.push((position, logits.iter().map(|v| v.to_bits()).collect::<Vec<_>>()));
            Ok(())
        });
        (rows, root.expect("rows"))
    };
    let expected = collect(&Reference);
    // All logits of a piece at once, some, and those of one row.
    for logits_bytes in [1 << 20, 3000, 0] {
        let session = session(&decoder, SessionOptions { logits_bytes, ..SessionOptions::default() });
        assert_eq!(collect(session.as_ref()), expected, "{logits_bytes}");
    }
}
