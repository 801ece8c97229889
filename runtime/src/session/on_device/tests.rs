//! Rows that are too many to be kept: buffers are written again and again, and each step's rows are hashed at once.

use std::sync::{Arc, Mutex};

use repops::sequence::example::Decoder;
use repops_ptx::Interpreter;

use super::{DeviceWork, Pools};
use crate::session::{Feed, Session, SessionOptions};
use crate::{Runtime, RuntimeOptions};

fn step(session: &Session, pieces: &[usize], first: usize) -> (Vec<u32>, Option<repops::Digest>) {
    let tokens: Vec<u32> = (0..pieces.iter().sum::<usize>() as u32).map(|i| (i * i * 7 + i) % 50).collect();
    let mut state = session.begin();
    let mut logits = Vec::new();
    for piece in pieces {
        let from = state.tokens().len();
        let feed = Feed { state: &mut state, tokens: &tokens[from..from + piece], logits_from: first };
        let found = session.step(&mut [feed]).unwrap();
        logits.extend(found.of(0).flatten().map(|value| value.to_bits()));
    }
    (logits, state.root(first))
}

#[test]
fn rows_that_are_not_kept_have_the_same_log() {
    let options = RuntimeOptions { threads: 1, ..RuntimeOptions::default() };
    let runtime = Arc::new(Runtime::new(options).unwrap());
    let program = Arc::new(Decoder { layers: 2, ..Decoder::default() }.program());
    let options = SessionOptions { cache_bytes: 1 << 21, ..SessionOptions::default() };
    let host = Session::new(runtime.clone(), program.clone(), options).unwrap();
    let mut device = Session::new(runtime, program, options).unwrap();
    let interpreter = Interpreter::new();
    let shapes = &device.plan.attention;
    let pools = Arc::new(Pools::new(interpreter.clone(), "it", shapes, options.cache_bytes).unwrap());
    device.pages = pools.clone();
    let mut work = DeviceWork::new(pools, &device.runtime.regions, None);
    work.kept_bytes_max = 0;
    device.work = Mutex::new(Box::new(work));
    for (pieces, first) in [(&[7][..], 0), (&[5, 4], 6), (&[1, 1, 1, 1], 0)] {
        assert_eq!(step(&device, pieces, first), step(&host, pieces, first), "{pieces:?}");
    }
    // What is written over is not recorded.
    assert_eq!(interpreter.replayed(), 0);
}
