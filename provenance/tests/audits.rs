//! Audits of single steps, and runs from checkpoints.
#![forbid(unsafe_code)]

mod programs;

use programs::PROGRAMS;
use repops::digest::bytes_digest;
use repops::reference::Reference;
use repops_provenance::Claim;
use repops_provenance::dispute::audit::{Finding, Opening, check};
use repops_provenance::dispute::simulate::{Dice, Kind, Scenario, SimulateError, Stage};
use repops_provenance::dispute::{Keep, Party, Player};

fn stage(which: usize, keep: Keep) -> Stage<'static> {
    let (program, inputs) = &PROGRAMS[which];
    Stage::keeping(program, inputs, &Reference, bytes_digest, keep).unwrap()
}

/// What an auditor finds, and the opening as it travels; no opening is a refusal.
fn audit(which: usize, player: &mut Player<'_>, claim: &Claim, index: u64) -> (Option<Finding>, Vec<u8>) {
    let Ok(opening) = player.open_record(claim, index) else { return (None, Vec::new()) };
    let bytes = opening.encode();
    assert_eq!(Opening::decode(&bytes).as_ref(), Ok(&opening));
    (Some(check(&PROGRAMS[which].0, claim, &opening, &Reference, bytes_digest)), bytes)
}

#[test]
fn an_honest_provider_passes_at_every_step() {
    for which in 0..PROGRAMS.len() {
        for keep in [Keep::Nothing, Keep::Steps(1)] {
            let stage = stage(which, keep);
            let (mut player, claim) = stage.honest();
            for index in 0..=stage.trace.records.len() as u64 {
                let (found, _) = audit(which, &mut player, &claim, index);
                assert_eq!(found, Some(Finding::Right), "program {which}, record {index}");
            }
        }
    }
}

#[test]
fn a_lie_is_caught_at_its_step_and_not_before() {
    let kinds = [
        Kind::Output,
        Kind::Input,
        Kind::Wiring,
        Kind::Operator,
        Kind::Attribute,
        Kind::Constant,
        Kind::Digest,
        Kind::Length,
        Kind::Outcome,
        Kind::Fault,
    ];
    for which in 0..PROGRAMS.len() {
        let stage = stage(which, Keep::Nothing);
        let count = stage.trace.records.len() as u64;
        for (kind, step) in kinds.into_iter().flat_map(|kind| (0..count).map(move |step| (kind, step))) {
            let scenario = Scenario { kind, step: Some(step), seed: step, liar: Party::Second };
            let (mut player, claim) = match stage.liar(&scenario) {
                Ok(liar) => liar,
                Err(SimulateError::NoLie { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            if claim == stage.claim {
                continue;
            }
            let last = claim.trace.unwrap().steps;
            let at = if matches!(kind, Kind::Length | Kind::Outcome) { last } else { step };
            let (found, _) = audit(which, &mut player, &claim, at);
            let is_caught = matches!(found, None | Some(Finding::Wrong(_)))
                // Not computed: which fault a control-flow step meets, and steps that cannot be run.
                || (kind == Kind::Fault && matches!(found, Some(Finding::Unknown(_))));
            assert!(is_caught, "program {which} {scenario:?}: {found:?}");
            for before in 0..at.min(step) {
                let (found, _) = audit(which, &mut player, &claim, before);
                // A liar need not be able to open what it did not lie about.
                assert!(
                    matches!(found, None | Some(Finding::Right)),
                    "{which} {scenario:?} {before}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn damaged_openings_are_errors() {
    let mut dice = Dice(5);
    for which in 0..PROGRAMS.len() {
        let stage = stage(which, Keep::Nothing);
        let (mut player, claim) = stage.honest();
        let index = dice.below(stage.trace.records.len() as u64);
        let (_, bytes) = audit(which, &mut player, &claim, index);
        for _ in 0..200 {
            let mut damaged = bytes.clone();
            let at = dice.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << dice.below(8);
            if let Ok(opening) = Opening::decode(&damaged) {
                let _ = check(&PROGRAMS[which].0, &claim, &opening, &Reference, bytes_digest);
            }
            assert!(Opening::decode(&damaged[..at]).is_err());
        }
    }
}

#[test]
fn checkpoints_save_steps_and_change_nothing() {
    for which in [0, 1, 4, 5] {
        let plain = stage(which, Keep::Nothing);
        for keep in [Keep::Steps(1), Keep::Steps(3), Keep::Bytes(200)] {
            let kept = stage(which, keep);
            assert_eq!(kept.claim, plain.claim);
            let (mut from_start, mut from_kept) = (0, 0);
            for step in 0..plain.trace.records.len() as u64 {
                let scenario =
                    Scenario { kind: Kind::Output, step: Some(step), seed: step, liar: Party::Second };
                let [a, b] = [&plain, &kept].map(|stage| stage.play(&scenario));
                let (Ok(a), Ok(b)) = (a, b) else { continue };
                assert_eq!(a.transcript, b.transcript, "program {which}, step {step}");
                from_start += a.steps_rerun;
                from_kept += b.steps_rerun;
            }
            if keep == Keep::Steps(1) && matches!(which, 0 | 5) {
                assert!(from_kept < from_start, "program {which}: {from_kept} of {from_start} steps");
            }
            assert!(from_kept <= from_start);
        }
        let every = stage(which, Keep::Steps(1)).kept.bytes;
        let some = stage(which, Keep::Steps(4)).kept.bytes;
        assert!(some <= every && plain.kept.bytes == 0);
    }
}

/// A program, a receipt and an opening in one piece: what the fuzz target of openings reads.
#[test]
fn openings_travel_with_what_they_are_about() {
    for which in [0, 3, 4] {
        let stage = stage(which, Keep::Nothing);
        let (mut player, claim) = stage.honest();
        let key = repops_provenance::Key::from_seed([9; 32]);
        let receipt = claim.clone().sign(&key, Default::default()).to_json();
        let mut program = Vec::new();
        PROGRAMS[which].0.write(&mut program).unwrap();
        let count = stage.trace.records.len() as u64;
        for index in [0, count / 2, count] {
            let opening = player.open_record(&claim, index).unwrap().encode();
            let mut case = Vec::new();
            for part in [program.as_slice(), receipt.as_bytes()] {
                case.extend_from_slice(&(part.len() as u32).to_le_bytes());
                case.extend_from_slice(part);
            }
            case.extend_from_slice(&opening);
            assert!(case.len() > opening.len() + program.len());
            if let Some(folder) = std::env::var_os("REPOPS_CORPUS") {
                let name = format!("{which}-{index}.opening");
                std::fs::write(std::path::Path::new(&folder).join(name), &case).unwrap();
            }
        }
    }
}
