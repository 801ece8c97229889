//! A referee needs little memory, whatever it decides, and no more for a larger model.
//!
//! `transcripts` holds disputes over MiniLM (16 tokens), made by `examples/transcripts.rs`, and one over a text of SmolLM2 (135 million
//! parameters), made by `repops dispute simulate --prompt "The capital of France is" --max-tokens 8 --seed 5 --transcript`.
#![forbid(unsafe_code)]

mod programs;

use std::alloc::System;

use cap::Cap;
use programs::PROGRAMS;
use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops_provenance::dispute::simulate::{Kind, Scenario, Stage};
use repops_provenance::dispute::{Loser, Party, Transcript, Verdict};

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Transcript, receipts and state together take an eighth of the 16 MiB that are promised, for any model.
const REFEREE_BYTES_MAX: usize = 2 << 20;

/// Replays within the limit; more and the allocator refuses, which ends the process.
fn replay(bytes: &[u8]) -> Option<Verdict> {
    MEMORY.set_limit(MEMORY.allocated() + REFEREE_BYTES_MAX).unwrap();
    let verdict = Transcript::decode(bytes).unwrap().replay().unwrap().verdict().cloned();
    MEMORY.set_limit(usize::MAX).unwrap();
    verdict
}

#[test]
fn a_referee_lives_in_two_mebibytes() {
    for (program, inputs) in PROGRAMS.iter() {
        let stage = Stage::new(program, inputs, &Reference, bytes_digest).unwrap();
        for (kind, seed) in Kind::ALL.into_iter().flat_map(|kind| (0..3).map(move |seed| (kind, seed))) {
            let Ok(outcome) = stage.play(&Scenario { kind, step: None, seed, liar: Party::Second }) else {
                continue;
            };
            assert_eq!(replay(&outcome.transcript.encode()), Some(outcome.verdict));
        }
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let verdict = replay(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((verdict.loser, verdict.reason.word()), (Loser::Second, "element"), "{}", path.display());
        found += 1;
    }
    assert!(found >= 3, "{found} transcripts of models");
}
