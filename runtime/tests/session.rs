//! Sessions give the bits of the plain way, however rows are cut, batched, shared and computed.

use std::sync::Arc;

use proptest::prelude::*;
use repops::blocks::Format;
use repops::exec::HashLevel;
use repops::sequence::example::Decoder;
use repops::sequence::trace::sequence_root;
use repops::sequence::{Sequence, reference};
use repops::{Digest, Program};
use repops_runtime::session::{Feed, SequenceState, Session, SessionError, SessionOptions};
use repops_runtime::{Isa, Runtime, RuntimeOptions};

fn tokens(count: usize, seed: u32) -> Vec<u32> {
    (0..count as u32).map(|i| (i.wrapping_mul(i).wrapping_mul(7) + 13 * seed + i) % 50).collect()
}

fn session(program: &Program, threads: usize, isa: Option<Isa>) -> Session {
    let runtime =
        Runtime::new(RuntimeOptions { threads, isa, ..RuntimeOptions::default() }).expect("a runtime");
    Session::new(Arc::new(runtime), Arc::new(program.clone()), SessionOptions::default()).expect("a session")
}

/// Logits from position `first` on and the root, by the plain way.
fn plain(program: &Program, tokens: &[u32], first: usize) -> (Vec<f32>, Digest) {
    let sequence = Sequence::of(program).expect("a sequence program");
    let rows = reference::run(program, &sequence, tokens, first).expect("runs");
    let entries: Vec<Digest> = rows.entries.iter().enumerate().map(|(p, e)| e.digest(p as u64)).collect();
    let logits = rows.logits.as_slice::<f32>()[first * sequence.vocabulary..].to_vec();
    (logits, sequence_root(&entries, first as u64))
}

/// The same by a session, the tokens cut into pieces of the given sizes (the last one repeats).
fn cut(
    session: &Session,
    state: &mut SequenceState,
    tokens: &[u32],
    first: usize,
    sizes: &[usize],
) -> Vec<f32> {
    let mut logits = Vec::new();
    let mut sizes = sizes.iter().copied();
    let mut size = sizes.next().expect("a size");
    while state.tokens().len() < tokens.len() {
        let from = state.tokens().len();
        let piece = &tokens[from..tokens.len().min(from + size)];
        let found = session.step(&mut [Feed { state, tokens: piece, logits_from: first }]).expect("a step");
        logits.extend(found.of(0).flatten());
        size = sizes.next().unwrap_or(size);
    }
    logits
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn assert_like_plain(
    decoder: &Decoder,
    count: usize,
    first: usize,
    sizes: &[usize],
    threads: usize,
    isa: Option<Isa>,
) {
    let program = decoder.program();
    let tokens = tokens(count, decoder.seed);
    let (logits, root) = plain(&program, &tokens, first);
    let session = session(&program, threads, isa);
    let mut state = session.begin();
    let found = cut(&session, &mut state, &tokens, first, sizes);
    assert_eq!(bits(&found), bits(&logits), "{decoder:?} {sizes:?} {threads} {isa:?}");
    assert_eq!(state.root(first), Some(root), "{decoder:?} {sizes:?} {threads} {isa:?}");
}

#[test]
fn pieces_change_nothing() {
    for sizes in [&[300][..], &[1], &[7], &[255, 2, 1], &[64]] {
        assert_like_plain(&Decoder { layers: 1, ..Decoder::default() }, 300, 290, sizes, 2, None);
    }
}

#[test]
fn instruction_sets_and_threads_change_nothing() {
    for isa in Isa::available() {
        for threads in [1, 7] {
            assert_like_plain(&Decoder { window: 9, ..Decoder::default() }, 40, 3, &[13], threads, Some(isa));
        }
    }
}

#[test]
fn weights_in_blocks() {
    for format in Format::ALL {
        let size = format.positions();
        let sizes =
            Decoder { layers: 1, hidden: size, inner: size, format: Some(format), ..Decoder::default() };
        assert_like_plain(&sizes, 9, 0, &[1, 3], 2, None);
    }
}

#[test]
fn batches_change_nothing() {
    let program = Decoder::default().program();
    let session = session(&program, 2, None);
    let all: Vec<Vec<u32>> = [40, 17, 33, 5].iter().zip(1..).map(|(&n, seed)| tokens(n, seed)).collect();
    let firsts = [35, 0, 32, 4];
    let mut states: Vec<SequenceState> = all.iter().map(|_| session.begin()).collect();
    let mut logits: Vec<Vec<f32>> = vec![Vec::new(); all.len()];
    // Each joins later than the one before, in pieces of its own size.
    for round in 0.. {
        let mut feeds = Vec::new();
        let mut fed = Vec::new();
        for (at, state) in states.iter_mut().enumerate() {
            let from = state.tokens().len();
            if round >= at && from < all[at].len() {
                let until = all[at].len().min(from + 1 + at * 3);
                fed.push(at);
                feeds.push(Feed { tokens: &all[at][from..until], logits_from: firsts[at], state });
            }
        }
        if feeds.is_empty() {
            break;
        }
        let found = session.step(&mut feeds).expect("a step");
        for (feed, at) in fed.into_iter().enumerate() {
            logits[at].extend(found.of(feed).flatten());
        }
    }
    for (at, state) in states.iter().enumerate() {
        let (expected, root) = plain(&program, &all[at], firsts[at]);
        assert_eq!(bits(&logits[at]), bits(&expected), "{at}");
        assert_eq!(state.root(firsts[at]), Some(root), "{at}");
    }
}

#[test]
fn shared_beginnings_change_nothing() {
    let program = Decoder { layers: 1, ..Decoder::default() }.program();
    let session = session(&program, 1, None);
    let long = tokens(300, 1);
    let mut one = session.begin();
    cut(&session, &mut one, &long, 0, &[150]);
    for keep in [0, 1, 255, 256, 257, 299] {
        // The same beginning, then something else; the first one goes on unharmed.
        let mut other = one.prefix(keep);
        let mut tokens = long[..keep].to_vec();
        tokens.extend([3, 1, 4, 1, 5]);
        let found = cut(&session, &mut other, &tokens, keep + 2, &[5]);
        let (logits, root) = plain(&program, &tokens, keep + 2);
        assert_eq!(bits(&found), bits(&logits), "{keep}");
        assert_eq!(other.root(keep + 2), Some(root), "{keep}");
    }
    let mut tokens = long.clone();
    tokens.extend([9, 2, 6]);
    let found = cut(&session, &mut one, &tokens, 0, &[1]);
    let (logits, root) = plain(&program, &tokens, 0);
    assert_eq!(bits(&found), bits(&logits[300 * 50..]));
    assert_eq!(one.root(0), Some(root));
}

#[test]
fn what_cannot_be_stepped() {
    let program = Decoder::default().program();
    let runtime = Arc::new(Runtime::new(RuntimeOptions::default()).expect("a runtime"));
    let options =
        SessionOptions { level: HashLevel::None, cache_bytes: 150_000, ..SessionOptions::default() };
    let session = Session::new(runtime, Arc::new(program), options).expect("a session");
    let mut state = session.begin();
    let mut step =
        |tokens: &[u32]| session.step(&mut [Feed { state: &mut state, tokens, logits_from: 0 }]).map(|_| ());
    assert_eq!(step(&[50]), Err(SessionError::Token { token: 50, vocabulary: 50 }));
    assert!(matches!(step(&[]), Err(SessionError::Rows { rows: 0, .. })));
    assert!(matches!(step(&vec![0; 5000]), Err(SessionError::Rows { rows: 5000, .. })));
    // Two layers, 2 * 8 numbers each for keys and values, 256 positions: 64 KiB a page.
    step(&[1; 256]).expect("the first pages");
    step(&[1; 256]).expect("the second pages");
    assert!(matches!(step(&[1]), Err(SessionError::CacheFull { .. })));
    assert_eq!(state.tokens().len(), 512);
    assert!(state.root(0).is_none());
    drop(state);
    assert_eq!(session.cache_bytes(), 0);
    // The rotary tables end at 1024 positions.
    let runtime = Arc::new(Runtime::new(RuntimeOptions::default()).expect("a runtime"));
    let program = Decoder { context: 10, ..Decoder::default() }.program();
    let session = Session::new(runtime, Arc::new(program), SessionOptions::default()).expect("a session");
    let mut state = session.begin();
    let found = session.step(&mut [Feed { state: &mut state, tokens: &[1; 11], logits_from: 0 }]);
    assert!(matches!(found, Err(SessionError::Step { .. })));
    let found = session.step(&mut [Feed { state: &mut state, tokens: &[1; 10], logits_from: 0 }]);
    assert_eq!(found.map(|l| l.of(0).len()).expect("ten rows"), 10);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_decoder_in_any_pieces(
        seed in 1u32..1000,
        layers in 1usize..3,
        (heads, kv_heads) in prop_oneof![Just((4usize, 2usize)), Just((2, 2)), Just((6, 1))],
        d in prop_oneof![Just(2usize), Just(6), Just(16)],
        inner in 1usize..70,
        vocabulary in 50usize..70,
        window in 0usize..12,
        count in 1usize..30,
        first in 0usize..30,
        sizes in prop::collection::vec(1usize..9, 1..4),
        threads in 1usize..4,
    ) {
        let decoder = Decoder {
            seed, layers, heads, kv_heads, inner, vocabulary, window, hidden: heads * d, ..Decoder::default()
        };
        assert_like_plain(&decoder, count, first.min(count - 1), &sizes, threads, None);
    }
}
