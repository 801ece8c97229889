//! Sessions on a device give the bits of the plain way: the shipped kernels, interpreted.

use std::sync::{Arc, Mutex};

use repops::exec::HashLevel;
use repops::sequence::example::Decoder;
use repops::sequence::sampling::Sampling;
use repops::sequence::trace::sequence_root;
use repops::sequence::{Sequence, reference};
use repops::{Digest, Program};
use repops_ptx::Interpreter;
use repops_runtime::generation::{Event, Request, Scheduler, SchedulerOptions};
use repops_runtime::session::{Feed, SequenceState, Session, SessionError, SessionOptions};
use repops_runtime::{Runtime, RuntimeOptions};

fn runtime() -> Arc<Runtime> {
    Arc::new(Runtime::new(RuntimeOptions { threads: 1, ..RuntimeOptions::default() }).unwrap())
}

fn options() -> SessionOptions {
    SessionOptions { cache_bytes: 1 << 21, ..SessionOptions::default() }
}

fn on(device: &Interpreter, program: &Program, options: SessionOptions) -> Session {
    let program = Arc::new(program.clone());
    let warn = Box::new(|text: &str| panic!("{text}"));
    Session::on_device(device.clone(), "an interpreter", Some(warn), runtime(), program, options).unwrap()
}

fn session(program: &Program) -> Session {
    on(&Interpreter::new(), program, options())
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i.wrapping_mul(i).wrapping_mul(7) + i) % 50).collect()
}

fn bits<'a>(rows: impl Iterator<Item = &'a [f32]>) -> Vec<u32> {
    rows.flatten().map(|value| value.to_bits()).collect()
}

/// Logits from position `first` on and the root, by the plain way.
fn plain(program: &Program, tokens: &[u32], first: usize) -> (Vec<u32>, Digest) {
    let sequence = Sequence::of(program).unwrap();
    let rows = reference::run(program, &sequence, tokens, first).unwrap();
    let entries: Vec<Digest> = rows.entries.iter().enumerate().map(|(p, e)| e.digest(p as u64)).collect();
    let logits = &rows.logits.as_slice::<f32>()[first * sequence.vocabulary..];
    (bits(std::iter::once(logits)), sequence_root(&entries, first as u64))
}

/// The same by a session, the tokens cut into pieces of these sizes, the last of which repeats.
fn cut(
    session: &Session,
    state: &mut SequenceState,
    tokens: &[u32],
    first: usize,
    sizes: &[usize],
) -> Vec<u32> {
    let mut logits = Vec::new();
    let mut turn = 0;
    while state.tokens().len() < tokens.len() {
        let from = state.tokens().len();
        let size = sizes[turn.min(sizes.len() - 1)];
        let piece = &tokens[from..tokens.len().min(from + size)];
        let found = session.step(&mut [Feed { state, tokens: piece, logits_from: first }]).unwrap();
        logits.extend(bits(found.of(0)));
        turn += 1;
    }
    logits
}

fn program() -> Program {
    Decoder { layers: 1, ..Decoder::default() }.program()
}

#[test]
fn pieces_change_nothing() {
    let (program, tokens) = (program(), tokens(9));
    let session = session(&program);
    for (first, sizes) in [(0, &[9][..]), (4, &[1]), (5, &[3, 1, 4]), (8, &[7, 2])] {
        let mut state = session.begin();
        let (logits, root) = plain(&program, &tokens, first);
        assert_eq!(cut(&session, &mut state, &tokens, first, sizes), logits, "{first} {sizes:?}");
        assert_eq!(state.root(first), Some(root), "{first} {sizes:?}");
    }
}

#[test]
fn pages_follow_each_other() {
    let (program, tokens) = (program(), tokens(261));
    let session = session(&program);
    let mut state = session.begin();
    let (logits, root) = plain(&program, &tokens, 255);
    assert_eq!(cut(&session, &mut state, &tokens, 255, &[254, 4, 1]), logits);
    assert_eq!(state.root(255), Some(root));
}

#[test]
fn sequences_stand_side_by_side_and_share_a_beginning() {
    let (program, tokens) = (program(), tokens(8));
    let session = session(&program);
    let mut one = session.begin();
    cut(&session, &mut one, &tokens[..5], 5, &[5]);
    let mut other = one.prefix(4);
    let mut third = session.begin();
    let fourth: Vec<u32> = tokens[..4].iter().copied().chain([11, 12]).collect();
    let mut feeds = [
        Feed { state: &mut one, tokens: &tokens[5..], logits_from: 6 },
        Feed { state: &mut other, tokens: &fourth[4..], logits_from: 5 },
        Feed { state: &mut third, tokens: &tokens[..3], logits_from: 9 },
    ];
    let found = session.step(&mut feeds).unwrap();
    assert_eq!(bits(found.of(0)), plain(&program, &tokens, 6).0);
    assert_eq!(bits(found.of(1)), plain(&program, &fourth, 5).0);
    assert_eq!(found.of(2).len(), 0);
    assert_eq!(one.root(6), Some(plain(&program, &tokens, 6).1));
    assert_eq!(other.root(5), Some(plain(&program, &fourth, 5).1));
}

/// Rows one by one, of one sequence and of several: recorded once for as many sequences and pages, and replayed; memory that grows
/// between does not matter.
#[test]
fn single_rows_are_recorded_and_replayed() {
    let (program, tokens) = (program(), tokens(262));
    for (level, start) in [(HashLevel::Operators, 254), (HashLevel::None, 3)] {
        let device = Interpreter::new();
        let options = SessionOptions { level, ..options() };
        let session = on(&device, &program, options);
        let (mut one, mut other, mut long) = (session.begin(), session.begin(), session.begin());
        cut(&session, &mut one, &tokens[..6], 0, &[2, 1]);
        let replayed = device.replayed();
        assert_eq!(replayed, 3);
        let mut one = session.begin();
        cut(&session, &mut long, &tokens[..start], start, &[start]);
        let (mut found, mut found_long) = (Vec::new(), Vec::new());
        for at in 0..6 {
            let mut feeds = [
                Feed { state: &mut one, tokens: &tokens[at..=at], logits_from: 0 },
                Feed { state: &mut long, tokens: &tokens[start + at..=start + at], logits_from: start },
            ];
            let logits = session.step(&mut feeds).unwrap();
            found.extend(bits(logits.of(0)));
            found_long.extend(bits(logits.of(1)));
            // Something larger between, and something of another shape.
            if at == 4 {
                cut(&session, &mut other, &tokens[..70], 0, &[70]);
            }
            cut(&session, &mut other.prefix(3), &tokens[..4], 0, &[1]);
        }
        // Some are done one by one again: for two pages, and after memory has grown.
        assert!(device.replayed() > replayed + 3, "{} after {replayed}", device.replayed());
        let (logits, root) = plain(&program, &tokens[..6], 0);
        assert_eq!(found, logits);
        let (logits, root_long) = plain(&program, &tokens[..start + 6], start);
        assert_eq!(found_long, logits);
        if level == HashLevel::Operators {
            assert_eq!(one.root(0), Some(root));
            assert_eq!(long.root(start), Some(root_long));
        }
    }
}

#[test]
fn a_state_of_another_session_is_refused() {
    let program = program();
    let (twin, session) = (session(&program), session(&program));
    let host = Session::new(runtime(), Arc::new(program.clone()), options()).unwrap();
    let mut state = session.begin();
    cut(&session, &mut state, &[1, 2], 2, &[2]);
    for other in [&twin, &host] {
        let feed = Feed { state: &mut state, tokens: &[3], logits_from: 9 };
        assert!(matches!(other.step(&mut [feed]), Err(SessionError::Foreign)));
    }
    let mut state = host.begin();
    cut(&host, &mut state, &[1, 2], 2, &[2]);
    let feed = Feed { state: &mut state, tokens: &[3], logits_from: 9 };
    assert!(matches!(session.step(&mut [feed]), Err(SessionError::Foreign)));
    assert_eq!(state.tokens(), [1, 2]);
}

#[test]
fn places_are_given_back_and_run_out() {
    let program = program();
    let page = session(&program).growth(&session(&program).begin(), 1);
    let small = SessionOptions { cache_bytes: 2 * page, ..options() };
    let program = Arc::new(program);
    let warn = Arc::new(Mutex::new(Vec::new()));
    let sink = warn.clone();
    let told = Box::new(move |text: &str| sink.lock().unwrap().push(text.to_owned()));
    let session =
        Session::on_device(Interpreter::new(), "an interpreter", Some(told), runtime(), program, small)
            .unwrap();
    let mut states = [session.begin(), session.begin(), session.begin()];
    let full = states
        .iter_mut()
        .find_map(|state| session.step(&mut [Feed { state, tokens: &[7], logits_from: 0 }]).err());
    assert!(matches!(full, Some(SessionError::CacheFull { .. })), "{full:?}");
    assert_eq!(session.cache_bytes(), 2 * page);
    states[0] = session.begin();
    assert_eq!(session.cache_bytes(), page);
    session.step(&mut [Feed { state: &mut states[2], tokens: &[7], logits_from: 0 }]).unwrap();
    assert!(warn.lock().unwrap().is_empty());
}

/// Requests of every kind of sampling, on the device and on the CPU: the same tokens, probabilities and roots.
#[test]
fn tokens_are_chosen_on_the_device() {
    let program = program();
    let host = Arc::new(Session::new(runtime(), Arc::new(program.clone()), options()).unwrap());
    let device = Interpreter::new();
    let there = Arc::new(on(&device, &program, options()));
    let plain = Sampling::default();
    let warm = Sampling { temperature: 0.9, ..plain };
    let samplings = [
        plain,
        Sampling { repetition_penalty: 1.4, frequency_penalty: 0.3, presence_penalty: 0.1, ..plain },
        Sampling { top_k: 7, min_p: 0.02, repetition_penalty: 1.1, ..warm },
        Sampling { top_p: 0.7, ..warm },
        Sampling { top_p: 0.9, top_k: 9, min_p: 0.01, frequency_penalty: 0.2, ..warm },
    ];
    let answers = |session: &Arc<Session>, samplings: &[Sampling], alternatives: usize| {
        let mut scheduler = Scheduler::new(session.clone(), SchedulerOptions::default());
        for (at, sampling) in samplings.iter().enumerate() {
            let request = Request {
                prompt: tokens(3 + at),
                max_tokens: 5,
                sampling: *sampling,
                seed: 11,
                nonce: at as u64,
                stop: Vec::new(),
                alternatives,
            };
            scheduler.submit(request).unwrap();
        }
        let mut answers = Vec::new();
        while !scheduler.is_idle() {
            for event in scheduler.step() {
                match event {
                    Event::Finished { id, finished } => {
                        let logprobs: Vec<u32> = finished.logprobs.iter().map(|p| p.to_bits()).collect();
                        answers.push((id, finished.tokens, logprobs, finished.root));
                    }
                    Event::Failed { error, .. } => panic!("{error}"),
                    Event::Token { .. } => {}
                }
            }
        }
        answers
    };
    let chosen = || device.launched().get(&("sampling".into(), "choose")).copied().unwrap_or(0);
    assert_eq!(answers(&there, &samplings, 0), answers(&host, &samplings, 0));
    // A token of each request for each of the five steps.
    assert_eq!(chosen(), 5);
    // The host names alternatives, and chooses.
    assert_eq!(answers(&there, &samplings[..1], 2), answers(&host, &samplings[..1], 2));
    assert_eq!(chosen(), 5);
}
