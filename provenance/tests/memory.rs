//! A referee needs little memory, whatever it decides.
#![forbid(unsafe_code)]

mod programs;

use std::alloc::System;

use cap::Cap;
use programs::PROGRAMS;
use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops_provenance::dispute::simulate::{Kind, Scenario, Stage};
use repops_provenance::dispute::{Party, Transcript};

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// The promise, for transcript, receipts and state together.
const REFEREE_BYTES_MAX: usize = 16 << 20;

#[test]
fn a_referee_lives_in_16_mebibytes() {
    for (program, inputs) in PROGRAMS.iter() {
        let stage = Stage::new(program, inputs, &Reference, bytes_digest).unwrap();
        for (kind, seed) in Kind::ALL.into_iter().flat_map(|kind| (0..3).map(move |seed| (kind, seed))) {
            let Ok(outcome) = stage.play(&Scenario { kind, step: None, seed, liar: Party::Second }) else {
                continue;
            };
            let bytes = outcome.transcript.encode();
            // More than this and the allocator refuses, which ends the process.
            MEMORY.set_limit(MEMORY.allocated() + REFEREE_BYTES_MAX).unwrap();
            let verdict = Transcript::decode(&bytes).unwrap().replay().unwrap().verdict().cloned();
            MEMORY.set_limit(usize::MAX).unwrap();
            assert_eq!(verdict, Some(outcome.verdict));
        }
    }
}
